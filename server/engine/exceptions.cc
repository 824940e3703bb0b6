#include "server/engine/exceptions.h"

#include <new>
#include <string>

#include "c10/util/Exception.h"
#include "server/base/errors.h"

namespace densityd::engine {
namespace {

bool IsMemoryShort(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return true;
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr) return true;
  // LibTorch's allocator on the CPU throws a plain c10::Error.
  return std::string_view(error.what()).find("DefaultCPUAllocator") != std::string_view::npos;
}

}  // namespace

absl::Status ExceptionStatus(const std::exception& error, std::string_view doing) {
  const std::string where = std::string(doing) + ": ";
  if (IsMemoryShort(error)) return ResourceExhausted("memory", where + "not enough memory");
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  return InternalError(where + (torch_error != nullptr ? torch_error->what_without_backtrace() : error.what()));
}

}  // namespace densityd::engine
