#include "server/engine/rows.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"

namespace densityd::engine {
namespace {

/// The numbers as bytes that begin at an odd address.
template <typename Number>
class Unaligned {
 public:
  explicit Unaligned(const std::vector<Number>& numbers) : bytes_(numbers.size() * sizeof(Number) + 1) {
    std::memcpy(data(), numbers.data(), numbers.size() * sizeof(Number));
  }
  char* data() { return bytes_.data() + 1; }

 private:
  std::vector<char> bytes_;
};

TEST(ReadRows, ConvertsBothTypesFromUnalignedMemory) {
  const std::vector<float> floats = {1.5f, -2, 3e38f, 0.1f, 5, 6};
  const std::vector<double> doubles(floats.begin(), floats.end());
  Unaligned<float> from_float(floats);
  Unaligned<double> from_double(doubles);
  for (const ConstMatrix& matrix : {ConstMatrix{from_float.data(), NumberType::kFloat32, 2, 3},
                                    ConstMatrix{from_double.data(), NumberType::kFloat64, 2, 3}}) {
    std::vector<float> as_float(6);
    std::vector<double> as_double(6);
    ReadRows(matrix, as_float.data());
    ReadRows(matrix, as_double.data());
    EXPECT_EQ(as_float, floats);
    EXPECT_EQ(as_double, doubles);
  }
}

TEST(WriteRows, ConvertsBothTypesToUnalignedMemory) {
  const std::vector<double> numbers = {1.0 / 3, -1e300, 2, 4};
  Unaligned<float> floats(std::vector<float>(4));
  Unaligned<double> doubles(std::vector<double>(4));
  WriteRows(numbers.data(), {floats.data(), NumberType::kFloat32, 4, 1});
  WriteRows(numbers.data(), {doubles.data(), NumberType::kFloat64, 4, 1});
  for (size_t i = 0; i < 4; ++i) {
    float single;
    double twice;
    std::memcpy(&single, floats.data() + i * 4, 4);
    std::memcpy(&twice, doubles.data() + i * 8, 8);
    EXPECT_EQ(single, static_cast<float>(numbers[i]));
    EXPECT_EQ(twice, numbers[i]);
  }
}

TEST(ReadContext, RepeatsASingleRowAndCopiesMany) {
  const std::vector<double> context = {1, 2, 3, 4, 5, 6};
  std::vector<float> out(6);
  ReadContext({context.data(), NumberType::kFloat64, 1, 2}, 3, out.data());
  EXPECT_EQ(out, (std::vector<float>{1, 2, 1, 2, 1, 2}));
  ReadContext({context.data(), NumberType::kFloat64, 3, 2}, 3, out.data());
  EXPECT_EQ(out, (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST(Rows, EmptyMatricesAreLeftAlone) {
  float number = 7;
  ReadRows(ConstMatrix{}, &number);
  WriteRows(&number, MutableMatrix{});
  EXPECT_EQ(number, 7);
}

}  // namespace
}  // namespace densityd::engine
