// Tables of results, CSV and JSON Lines: read as what their content looks like, and as a sweep's runs.
#include "fit/points.h"
#include "fit/table.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ttt::fs::path path = ttt::scratch() / "fuzz.table";
  ttt::write_bytes(path, {reinterpret_cast<const char*>(data), size});
  ttt::expect_error_or_result([&] {
    const ttt::DataTable table(path);
    ttt::PointColumns columns;
    if (!table.is_json_lines() && table.columns().size() >= 3) {
      columns.n = table.columns()[0];
      columns.d = table.columns()[1];
      columns.loss = table.columns()[2];
    }
    ttt::PointSet set = ttt::read_points({path}, columns);
    ttt::drop_highest(set, 1);
    ttt::group_points(set.points);
  });
  return 0;
}
