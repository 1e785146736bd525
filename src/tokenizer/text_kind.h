// What a file of text holds: by its name, whatever its case, and a look at its beginning.
//
//     *.jsonl *.ndjson *.jsonlines   JSON Lines; also *.json.zst, *.json.gz
//     *.json                         JSON Lines when its first lines are whole objects; else a text like any other
//     anything else                  plain text; but JSON Lines when its first line is an object with the text field
//     *.csv *.tsv, and files that begin as archives, images or other things that are no text do: refused
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "tokenizer/document_reader.h"

namespace ttt {

struct TextKind {
  DocumentKind kind = DocumentKind::kPlain;  // never kAuto
  bool by_content = false;                   // the name alone would say otherwise, or says nothing
};

// format.kind where it is not kAuto. Throws UserError for a file that cannot be read, and for one that plainly holds no
// text, with what it seems to be.
TextKind text_kind(const std::filesystem::path& path, const DocumentFormat& format);

// What a file that begins so seems to be ("a ZIP archive"), or "" when it may be text.
std::string seems_to_be(std::string_view beginning);

}  // namespace ttt
