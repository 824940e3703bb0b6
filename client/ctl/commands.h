// The commands of densityctl, one file per group.
#pragma once

#include "CLI/App.hpp"
#include "client/ctl/session.h"

namespace densityd::ctl {

void AddRowCommands(CLI::App& app, Session& session);       ///< logprob, inverse, forward, score
void AddExplainCommand(CLI::App& app, Session& session);    ///< explain
void AddSampleCommand(CLI::App& app, Session& session);     ///< sample
void AddTrainCommand(CLI::App& app, Session& session);      ///< train
void AddTrainingCommands(CLI::App& app, Session& session);  ///< watch, cancel, trainings
void AddDatasetCommands(CLI::App& app, Session& session);   ///< upload, datasets
void AddModelCommands(CLI::App& app, Session& session);     ///< models, load, unload, delete, reload
void AddPlanCommand(CLI::App& app, Session& session);       ///< plan
void AddArchiveCommands(CLI::App& app, Session& session);   ///< export, import
void AddAliasCommands(CLI::App& app, Session& session);     ///< alias
void AddHealthCommand(CLI::App& app, Session& session);     ///< health
void AddTokenCommand(CLI::App& app, Session& session);      ///< token

}  // namespace densityd::ctl
