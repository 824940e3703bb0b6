// Where the quadrature over a column begins.
#pragma once

#include <vector>

#include "server/explain/conditional.h"
#include "server/explain/panel.h"

namespace densityd::explain {

/// The ends of the cell that integer `value` stands for; between two integers both lie in the middle of these.
double CellLow(double value);
double CellHigh(double value);

/// Adjacent panels, ascending: narrow ones around the usual values and around the value in question, which is itself an
/// end, so that the masses on its two sides are sums of panels. The cell of an integer is a panel of its own. Empty
/// where the support is.
std::vector<Panel> FirstPanels(double value, const ColumnRange& range);

}  // namespace densityd::explain
