// W3C Trace Context: finds the trace that a request belongs to.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace densityd::telemetry {

/// Ids of a trace and of the caller's span, lower-case hexadecimal: 32 and 16 digits.
struct TraceContext {
  std::string trace_id;
  std::string parent_id;
};

/// Reads a `traceparent` header (https://www.w3.org/TR/trace-context/, section 3.2.2): "00-<trace>-<parent>-<flags>".
/// Later versions may append fields. nullopt where it is malformed, as the standard asks: then there is no trace.
std::optional<TraceContext> ParseTraceparent(std::string_view header);

}  // namespace densityd::telemetry
