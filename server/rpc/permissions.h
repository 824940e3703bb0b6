// What each RPC needs of its caller, and whether it changes something.
#pragma once

#include "server/rpc/grants.h"
#include "server/telemetry/rpc_method.h"

namespace densityd::rpc {

/// Which models a call is about.
enum class Scope {
  kModel,  ///< the one that it names
  kNone,   ///< none, such as a dataset
  kOwn,    ///< it learns later which; what its caller may not touch is then left out or refused
};

struct Permission {
  Right right = Right::kAdmin;
  Scope scope = Scope::kModel;
  bool any_right = false;   ///< any of infer, train and admin will do
  bool audited = false;     ///< it changes what is stored or served, or hands out weights
  bool owner_only = false;  ///< only the server that owns the root can do it
};

/// The permission that `method` needs.
Permission PermissionOf(telemetry::RpcMethod method);

}  // namespace densityd::rpc
