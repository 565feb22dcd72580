#include "lacuna/target/dct.h"

#include <gtest/gtest.h>

#include "lacuna/core/torch.h"

namespace lacuna::target {
namespace {

TEST(Dct, EqualsScipys) {  // scipy.fft.dct([1, 2, 3, 4], norm="ortho")
  const auto y = Dct(4, 4).forward(torch::tensor({1.F, 2.F, 3.F, 4.F}).unsqueeze(1));
  const auto wanted = torch::tensor({5.0, -2.230442497387663, 0.0, -0.15851266778110726}).unsqueeze(1);
  EXPECT_TRUE(torch::allclose(y.to(torch::kDouble), wanted.to(torch::kDouble), 0, 1e-6));
}

TEST(Dct, IsOrthonormal) {
  const auto matrix = dct_matrix(30).to(torch::kDouble);
  EXPECT_TRUE(torch::allclose(matrix.mm(matrix.t()), torch::eye(30, torch::kDouble), 0, 1e-6));
}

TEST(Dct, FewRowsKeepSlowMotion) {
  const Dct dct(20, 5);
  const auto slow = dct.backward(torch::tensor({1.F, -2.F, 0.5F, 0.F, 3.F}).view({1, 5, 1}));
  EXPECT_TRUE(torch::allclose(dct.backward(dct.forward(slow)), slow, 1e-5, 1e-5));
  const auto still = torch::full({1, 20, 3}, 7.F);
  EXPECT_TRUE(torch::allclose(dct.backward(dct.forward(still)), still, 1e-5, 1e-5));
}

}  // namespace
}  // namespace lacuna::target
