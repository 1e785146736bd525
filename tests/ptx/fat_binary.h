// The PTX in what nvcc puts into an object file, as __cudaRegisterFatBinary gets it.
#pragma once

#include <string>

namespace ttt::ptx {

// The text of the one module with PTX. Throws Problem where there is none, or in a format that it does not know.
std::string ptx_of(const void* fat_binary);

}  // namespace ttt::ptx
