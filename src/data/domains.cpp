#include "data/domains.h"

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"

namespace ttt {
namespace {

constexpr const char* kDomainsFormat = "ttt-domains";
constexpr std::int64_t kDomainsVersion = 1;

Json to_json(const std::optional<DomainIndex::Set>& set) {
  if (!set) return nullptr;
  return {{"path", set->path}, {"documents", set->documents}, {"tokens", set->tokens}, {"text_bytes", set->text_bytes}};
}

std::optional<DomainIndex::Set> set_from_json(const Json& json) {
  if (json.is_null()) return std::nullopt;
  DomainIndex::Set set{json.at("path").get<std::string>(), json.at("documents").get<std::int64_t>(),
                       json.at("tokens").get<std::int64_t>(), json.at("text_bytes").get<std::int64_t>()};
  const fs::path path(set.path);
  if (path.empty() || path.is_absolute() || path.lexically_normal().string().starts_with("..")) {
    throw std::invalid_argument("'" + set.path + "' is not a folder within this one");
  }
  return set;
}

}  // namespace

bool has_domains(const std::filesystem::path& directory) {
  return fs::is_regular_file(directory / "domains.json");
}

DomainIndex read_domains(const std::filesystem::path& directory) {
  const fs::path path = directory / "domains.json";
  try {
    const Json json = Json::parse(read_file(path));
    if (!json.is_object() || json.value("format", Json()) != kDomainsFormat) {
      user_error("'", path.string(), "' does not list domains; name a folder that `ttt prepare` wrote");
    }
    const std::int64_t version = json.at("format_version").get<std::int64_t>();
    if (version > kDomainsVersion) {
      user_error("'", path.string(), "' has format version ", version, ", and this program reads versions up to ",
                 kDomainsVersion, "; update ttt, or prepare the data again");
    }
    DomainIndex index;
    for (const Json& domain : json.at("domains")) {
      index.domains.push_back(
          {domain.at("name").get<std::string>(), set_from_json(domain.at("train")), set_from_json(domain.at("valid"))});
    }
    return index;
  } catch (const UserError&) {
    throw;
  } catch (const std::exception& error) {  // of nlohmann's parser and accessors, and of set_from_json()
    user_error("'", path.string(), "' is damaged (", error.what(), "); prepare the data again");
  }
}

void write_domains(const std::filesystem::path& directory, const DomainIndex& index) {
  Json json = {{"format", kDomainsFormat}, {"format_version", kDomainsVersion}, {"domains", Json::array()}};
  for (const DomainIndex::Domain& domain : index.domains) {
    json["domains"].push_back(
        {{"name", domain.name}, {"train", to_json(domain.train)}, {"valid", to_json(domain.valid)}});
  }
  write_file_atomically(directory / "domains.json", json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::string domain_folder(const std::string& domain) {
  std::string name = domain;
  for (char& c : name) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    if (!plain) c = '_';
  }
  if (name.empty() || name[0] == '.') name.insert(0, "_");
  return name;
}

}  // namespace ttt
