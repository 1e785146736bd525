// domains.json: the data sets of a folder that `ttt prepare` parted by domain.
//
//     OUTPUT/domains.json
//     OUTPUT/DOMAIN/train  OUTPUT/DOMAIN/valid      with --valid-fraction
//     OUTPUT/DOMAIN                                 without
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ttt {

struct DomainIndex {
  struct Set {
    std::string path;  // within the folder
    std::int64_t documents = 0, tokens = 0, text_bytes = 0;
  };
  struct Domain {
    std::string name;
    std::optional<Set> train, valid;
  };
  std::vector<Domain> domains;  // by name
};

bool has_domains(const std::filesystem::path& directory);
// Throws UserError: no such file, damaged, of a newer version.
DomainIndex read_domains(const std::filesystem::path& directory);
void write_domains(const std::filesystem::path& directory, const DomainIndex& index);

// A folder's name for a domain: other characters than letters, digits, '-', '_' and '.' become '_'.
std::string domain_folder(const std::string& domain);

}  // namespace ttt
