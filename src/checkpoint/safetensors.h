// The safetensors format (8-byte little-endian header length, JSON header, tensors), read by mmap and bounds-checked.
//
// Tensors of a file are views of its map. They are not to be written to. The map lives as long as one of them, and the
// pages of a tensor no longer count as this process's memory when it is gone.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/files.h"

namespace ttt {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

struct SafetensorsFile {
  std::map<std::string, at::Tensor> tensors;  // CPU, contiguous; F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL
  std::map<std::string, std::string> metadata;
  std::shared_ptr<const MappedFile> map;  // null: tensors are copies

  // Throws UserError naming the tensor and the file's path when it is absent.
  const at::Tensor& at(const std::string& name) const;
  bool has(const std::string& name) const { return tensors.count(name) != 0; }
  std::string path;
};

// Some bytes of a map will not be read again soon: they no longer count as this process's memory. Others are left alone.
void forget_pages(const MappedFile& map, const void* first, std::size_t size);

// Throws UserError naming the file, the tensor and what is wrong (truncated, overlapping or out-of-range offsets,
// unknown type).
SafetensorsFile read_safetensors(const std::filesystem::path& path);
// The same from bytes in memory, as copies; `path` is for messages.
SafetensorsFile parse_safetensors(std::string_view bytes, const std::string& path);

// Writes in the order given, names unique, with the header padded so that the data start at a multiple of 64 bytes; the
// file is fsynced.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace ttt
