#include "resolvent/core/matrix_functions.hpp"

#include <array>
#include <cmath>
#include <limits>

#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/math/discretize.hpp"

namespace resolvent {
namespace {

constexpr double kUnit = 0.5 * std::numeric_limits<double>::epsilon();

// ---- form --------------------------------------------------------------------------------------

enum class Form { full, lower, upper, symmetric };

/// What every polynomial in a matrix shares with it, and so every product of two of them.
struct Structure {
  Form form = Form::full;
  std::vector<double> sign;  ///< symmetric: σ with σ_n σ_k M_nk = M_kn, entries ±1
};

template <class T>
bool is_lower(const Matrix<T>& A) {
  for (Index n = 0; n < A.rows(); ++n) {
    for (Index k = n + 1; k < A.cols(); ++k) {
      if (A(n, k) != T(0)) return false;
    }
  }
  return true;
}

template <class T>
bool is_upper(const Matrix<T>& A) {
  for (Index n = 0; n < A.rows(); ++n) {
    for (Index k = 0; k < n; ++k) {
      if (A(n, k) != T(0)) return false;
    }
  }
  return true;
}

/// Signs σ with σ_nσ_k A_nk = A_kn, empty if there are none. Found by walking along the nonzero
/// entries, then checked.
template <class T>
std::vector<double> symmetry_signs(const Matrix<T>& A) {
  const Index N = A.rows();
  std::vector<double> sign(static_cast<std::size_t>(N), 0.0);
  std::vector<Index> queue;
  for (Index start = 0; start < N; ++start) {
    if (sign[start] != 0.0) continue;
    sign[start] = 1.0;
    queue.assign(1, start);
    while (!queue.empty()) {
      const Index n = queue.back();
      queue.pop_back();
      for (Index k = 0; k < N; ++k) {
        if (A(n, k) == T(0) && A(k, n) == T(0)) continue;
        const double relative = A(n, k) == A(k, n) ? 1.0 : -1.0;
        if (relative * A(n, k) != A(k, n)) return {};
        if (sign[k] == 0.0) {
          sign[k] = relative * sign[n];
          queue.push_back(k);
        } else if (sign[k] != relative * sign[n]) {
          return {};
        }
      }
    }
  }
  return sign;
}

/// A diagonal matrix counts as lower triangular.
template <class T>
Structure structure_of(const Matrix<T>& A) {
  if (is_lower(A)) return {Form::lower, {}};
  if (is_upper(A)) return {Form::upper, {}};
  std::vector<double> sign = symmetry_signs(A);
  if (!sign.empty()) return {Form::symmetric, std::move(sign)};
  return {};
}

// ---- products ----------------------------------------------------------------------------------

/// A rectangle of a product. Rectangles depend on the size alone, so that no sum depends on how
/// they are spread over threads.
struct Tile {
  Index row, rows, column, columns;
};

/// Rows of a tile of full and triangular products, rows of the smallest of a symmetric one.
constexpr Index kFullRows = 128;
constexpr Index kTriangleRows = 64;
constexpr Index kSymmetricRows = 32;

/// Tiles of all columns.
std::vector<Tile> bands(Index size, Index rows) {
  std::vector<Tile> tiles;
  for (Index row = 0; row < size; row += rows) {
    tiles.push_back({row, std::min(rows, size - row), 0, size});
  }
  return tiles;
}

/// Tiles that cover the lower half: one large square below the diagonal, then both triangles.
void add_lower_tiles(Index first, Index size, std::vector<Tile>& tiles) {
  if (size <= kSymmetricRows) {
    tiles.push_back({first, size, first, size});
    return;
  }
  const Index upper = size / 2;
  tiles.push_back({first + upper, size - upper, first, upper});
  add_lower_tiles(first, upper, tiles);
  add_lower_tiles(first + upper, size - upper, tiles);
}

std::vector<Tile> tiles_of(Form form, Index size) {
  if (form == Form::full) return bands(size, kFullRows);
  if (form != Form::symmetric) return bands(size, kTriangleRows);
  std::vector<Tile> tiles;
  add_lower_tiles(0, size, tiles);
  return tiles;
}

template <class T>
void multiply_rectangle(const Matrix<T>& a, const Matrix<T>& b, const Tile& t, Matrix<T>& out) {
  out.block(t.row, t.column, t.rows, t.columns).noalias() =
      a.middleRows(t.row, t.rows) * b.middleCols(t.column, t.columns);
}

template <class T>
void multiply_lower(const Matrix<T>& a, const Matrix<T>& b, const Tile& t, Matrix<T>& out) {
  const Index end = t.row + t.rows;
  out.middleRows(t.row, t.rows).setZero();
  for (Index k = 0; k < end; k += kTriangleRows / 2) {
    const Index depth = std::min(kTriangleRows / 2, end - k);
    out.block(t.row, 0, t.rows, k + depth).noalias() +=
        a.block(t.row, k, t.rows, depth) * b.block(k, 0, depth, k + depth);
  }
}

template <class T>
void multiply_upper(const Matrix<T>& a, const Matrix<T>& b, const Tile& t, Matrix<T>& out) {
  const Index N = a.rows();
  out.middleRows(t.row, t.rows).setZero();
  for (Index k = t.row; k < N; k += kTriangleRows / 2) {
    const Index depth = std::min(kTriangleRows / 2, N - k);
    out.block(t.row, k, t.rows, N - k).noalias() +=
        a.block(t.row, k, t.rows, depth) * b.block(k, k, depth, N - k);
  }
}

/// The upper half from the lower, in squares that stay in the cache.
template <class T>
void mirror(const std::vector<double>& sign, Matrix<T>& m) {
  constexpr Index kSquare = 16;
  for (Index row = 0; row < m.rows(); row += kSquare) {
    const Index row_end = std::min(row + kSquare, m.rows());
    for (Index column = row; column < m.cols(); column += kSquare) {
      const Index column_end = std::min(column + kSquare, m.cols());
      for (Index n = row; n < row_end; ++n) {
        for (Index k = std::max(column, n + 1); k < column_end; ++k) {
          m(n, k) = sign[n] * sign[k] * m(k, n);
        }
      }
    }
  }
}

/// out = a b for two polynomials in the same matrix of the given structure.
template <class T>
void multiply(const Structure& structure, const Matrix<T>& a, const Matrix<T>& b, Matrix<T>& out) {
  const Index N = a.rows();
  out.resize(N, N);
  const std::vector<Tile> tiles = tiles_of(structure.form, N);
  const auto count = static_cast<Index>(tiles.size());
  const double work = 2.0 * static_cast<double>(N) * static_cast<double>(N) *
                      static_cast<double>(N) / (structure.form == Form::full ? 1.0 : 3.0);
  parallel_for(count, work, [&](Index i, Checkpoint& checkpoint) {
    checkpoint();
    switch (structure.form) {
      case Form::full:
      case Form::symmetric:
        return multiply_rectangle(a, b, tiles[i], out);
      case Form::lower:  // the long ones first, so that threads end together
        return multiply_lower(a, b, tiles[count - 1 - i], out);
      case Form::upper:
        return multiply_upper(a, b, tiles[i], out);
    }
  });
  if (structure.form == Form::symmetric) mirror(structure.sign, out);
}

// ---- scaling -----------------------------------------------------------------------------------

/// Powers whose norms are measured; the rest of a series is bounded by a geometric one.
constexpr Index kPowers = 26;

/// ν_k/k! with ν_k = ‖|A|ᵏ‖₁ ≥ ‖Aᵏ‖₁, for A divided by 2^exponent, where ν_1 is at most 1.
struct PowerNorms {
  std::array<double, kPowers + 1> term{};
  int exponent = 0;
  double first = 0.0;  ///< ν_1
};

template <class T>
PowerNorms power_norms(const Matrix<T>& A) {
  using Row = Eigen::Matrix<double, 1, Eigen::Dynamic>;
  Matrix<double> magnitude = A.cwiseAbs();
  PowerNorms norms;
  Row sums = Row::Ones(A.rows());
  const double norm = (sums * magnitude).maxCoeff();
  require(std::isfinite(norm), "A must have a norm within the range of double");
  if (norm < std::numeric_limits<double>::min()) {  // e^A = 1 + A to all digits
    norms.term[0] = 1.0;
    return norms;
  }
  static_cast<void>(std::frexp(norm, &norms.exponent));
  magnitude *= std::ldexp(1.0, -norms.exponent);
  norms.first = std::ldexp(norm, -norms.exponent);
  norms.term[0] = 1.0;
  double factorial = 1.0;
  for (Index k = 1; k <= kPowers; ++k) {
    sums = (sums * magnitude).eval();
    factorial *= static_cast<double>(k);
    norms.term[k] = sums.maxCoeff() / factorial;
  }
  return norms;
}

/// p!·Σ_{k>m} ν_k hᵏ/(k+p)!: what the Taylor polynomial of degree m of φ_p leaves out, relative to
/// φ_p(0).
double remainder(const PowerNorms& norms, double h, Index m, Index p) {
  double ratio = 1.0;  // p! k!/(k+p)!
  double sum = 0.0;
  double last = 0.0;
  for (Index k = 1; k <= kPowers; ++k) {
    ratio *= static_cast<double>(k) / static_cast<double>(k + p);
    last = norms.term[k] * std::pow(h, static_cast<double>(k)) * ratio;
    if (k > m) sum += last;
  }
  const double next = norms.first * h / static_cast<double>(kPowers + 1 + p);
  return next < 1.0 ? sum + last * next / (1.0 - next) : std::numeric_limits<double>::infinity();
}

/// Σ_k ν_k hᵏ/k!: by how much the sum of the terms exceeds φ_0(0), which is how much rounding
/// grows.
double amplification(const PowerNorms& norms, double h) {
  double sum = 0.0;
  for (Index k = 0; k <= kPowers; ++k) {
    sum += norms.term[k] * std::pow(h, static_cast<double>(k));
  }
  return sum;
}

/// A way to evaluate a Taylor polynomial.
struct Scheme {
  Index degree;
  Index block;     ///< powers A … A^block are formed (Paterson and Stockmeyer); 0: `taylor_18`
  Index products;  ///< of matrices
};

constexpr std::array<Scheme, 6> kExponentialSchemes{
    {{1, 1, 0}, {2, 2, 1}, {4, 2, 2}, {6, 3, 3}, {9, 3, 4}, {18, 0, 5}}};
constexpr std::array<Scheme, 8> kPhiSchemes{
    {{1, 1, 0}, {2, 2, 1}, {4, 2, 2}, {6, 3, 3}, {9, 3, 4}, {12, 4, 5}, {16, 4, 6}, {20, 5, 7}}};

struct Plan {
  Scheme scheme;
  int squarings;
};

/// Rounding of the polynomial may grow by this much: e^{1.1}, the amplification of `taylor_18` at
/// the norm up to which it is good.
constexpr double kAmplification = 3.1;

/// The cheapest combination of scheme and squarings that leaves out less than rounding.
template <std::size_t Count>
Plan make_plan(const PowerNorms& norms, Index order, const std::array<Scheme, Count>& schemes) {
  Plan best{schemes.back(), -1};
  Index best_cost = 0;
  const auto per_squaring = order + 1;
  for (int s = 0; best.squarings < 0 || s * per_squaring < best_cost; ++s) {
    const double h = std::ldexp(1.0, norms.exponent - s);
    if (!(amplification(norms, h) <= kAmplification)) continue;
    for (const Scheme& scheme : schemes) {
      const Index cost = scheme.products + s * per_squaring;
      if (best.squarings >= 0 && cost >= best_cost) break;
      if (!(remainder(norms, h, scheme.degree, order) <= kUnit)) continue;
      best = {scheme, s};
      best_cost = cost;
      break;
    }
  }
  return best;
}

// ---- polynomials -------------------------------------------------------------------------------

double inverse_factorial(Index n) { return std::exp(-std::lgamma(static_cast<double>(n) + 1.0)); }

/// 1/n! for n = 0 … count − 1.
std::vector<double> inverse_factorials(Index count) {
  std::vector<double> values(static_cast<std::size_t>(count), 1.0);
  for (Index n = 1; n < count; ++n) values[n] = values[n - 1] / static_cast<double>(n);
  return values;
}

/// Σ_j X^j/(j+p)!, without its constant where p = 0, by Paterson and Stockmeyer's blocks: a
/// polynomial in X^block whose coefficients are polynomials of lower degree.
template <class T>
Matrix<T> paterson_stockmeyer(const Structure& structure, const Matrix<T>& X, Index p,
                              const Scheme& scheme) {
  const Index N = X.rows();
  const Index block = scheme.block;
  const std::vector<double> inverse = inverse_factorials(scheme.degree + p + 1);
  std::vector<Matrix<T>> power(static_cast<std::size_t>(block + 1));
  power[1] = X;
  for (Index j = 2; j <= block; ++j) multiply(structure, power[j - 1], X, power[j]);
  const auto add_block = [&](Index first, Index count, Matrix<T>& sum) {
    if (first + p > 0) sum.diagonal().array() += T(inverse[first + p]);
    for (Index j = 1; j < count; ++j) sum += inverse[first + j + p] * power[j];
  };
  // The last block is its constant: c_m X^block + (the block below) needs no product.
  Index first = scheme.degree - block;
  Matrix<T> sum = inverse[scheme.degree + p] * power[block];
  add_block(first, block, sum);
  Matrix<T> product(N, N);
  while (first > 0) {
    first -= block;
    multiply(structure, sum, power[block], product);
    sum.swap(product);
    add_block(first, block, sum);
  }
  return sum;
}

/// The Taylor polynomial of degree 18 of e^X − 1 with five products (Bader, Blanes and Casas 2019,
/// Mathematics 7:1174, table 6): C_i polynomials in X, X², X³, X⁶, A₉ = C₁C₅ + C₄ and
/// T₁₈ = C₂ + (C₃ + A₉)A₉. Expanded, the coefficients agree with 1/k! to 10⁻¹⁵. Here with the
/// constants a of A₉ and c of C₃ taken out, whose product a(a + c) is the 1.
template <class T>
Matrix<T> taylor_18(const Structure& structure, const Matrix<T>& X) {
  constexpr double a = -0.09043168323908105619;
  constexpr double c = -10.9676396052962062593;
  Matrix<T> X2, X3, X6, A9, result;
  multiply(structure, X, X, X2);
  multiply(structure, X2, X, X3);
  multiply(structure, X3, X3, X6);
  Matrix<T> C1 =
      -0.10036558103014462001 * X - 0.00802924648241156960 * X2 - 0.00089213849804572995 * X3;
  Matrix<T> C5 =
      -0.09233646193671185927 * X2 - 0.01693649390020817171 * X3 - 0.00001400867981820361 * X6;
  multiply(structure, C1, C5, A9);
  A9 += -0.06764045190713819075 * X + 0.06759613017704596460 * X2 + 0.02955525704293155274 * X3 -
        0.00001391802575160607 * X6;
  Matrix<T>& C3 = C1;
  C3 = 1.68015813878906197182 * X + 0.05717798464788655127 * X2 - 0.00698210122488052084 * X3 +
       0.00003349750170860705 * X6;
  Matrix<T>& sum = C5;
  sum = C3 + A9;
  multiply(structure, sum, A9, result);
  result += 0.39784974949964507614 * X + 1.36783778460411719922 * X2 + 0.49828962252538267755 * X3 -
            0.00063789819459472330 * X6;
  result += a * C3 + (c + 2.0 * a) * A9;
  return result;
}

/// The polynomial of φ_p(X), or of e^X − 1 where p = 0.
template <class T>
Matrix<T> evaluate(const Structure& structure, const Matrix<T>& X, Index p, const Scheme& scheme) {
  if (scheme.block == 0) return taylor_18(structure, X);
  return paterson_stockmeyer(structure, X, p, scheme);
}

// ---- exponential -------------------------------------------------------------------------------

double expm1(double x) { return std::expm1(x); }

Complex expm1(Complex z) {
  const auto value = math::expm1(math::ComplexPair<double>{z.real(), z.imag()});
  return {value.re, value.im};
}

/// e^X, X = scale·A, as it doubles. Held as e^X − 1 at first: rounding there is relative to X, not
/// to 1, and every squaring doubles what was lost before it. Where e^X has become small itself,
/// which is where all of its diagonal is, it is held as it is.
template <class T>
class Doubling {
 public:
  /// `value` is e^{scale·A} − 1.
  Doubling(const Structure& structure, const Matrix<T>& A, double scale, Matrix<T> value)
      : structure_(structure), A_(A), scale_(scale), value_(std::move(value)) {
    settle();
  }

  /// out = e^X m, m another polynomial in A.
  void multiply_into(const Matrix<T>& m, Matrix<T>& out) const {
    multiply(structure_, value_, m, out);
    if (less_one_) out += m;
  }

  /// e^X block.
  Matrix<T> image(const Matrix<T>& block) const {
    Matrix<T> out = value_ * block;
    if (less_one_) out += block;
    return out;
  }

  /// X ← 2X.
  void advance() {
    multiply(structure_, value_, value_, product_);
    if (less_one_) product_ += 2.0 * value_;  // (1 + F)² = 1 + (F² + 2F)
    value_.swap(product_);
    scale_ *= 2.0;
    settle();
  }

  Matrix<T> exponential() && {
    if (less_one_) add_one();
    return std::move(value_);
  }

 private:
  void settle() {
    set_diagonal();
    if (less_one_ && value_.diagonal().real().maxCoeff() < -0.5) add_one();
  }

  void add_one() {
    less_one_ = false;
    value_.diagonal().array() += T(1);
    set_diagonal();
  }

  /// A triangle's diagonal is known, and would else double its error with every squaring.
  void set_diagonal() {
    if (structure_.form != Form::lower && structure_.form != Form::upper) return;
    for (Index n = 0; n < A_.rows(); ++n) {
      const T exponent = scale_ * A_(n, n);
      value_(n, n) = less_one_ ? expm1(exponent) : std::exp(exponent);
    }
  }

  const Structure& structure_;
  const Matrix<T>& A_;
  double scale_;
  Matrix<T> value_;
  Matrix<T> product_;
  bool less_one_ = true;
};

/// e^A by squaring; `visit(doubling)` sees e^{A/2ˢ}, e^{A/2ˢ⁻¹} … before each squaring.
template <class T, class Visit>
Matrix<T> square_up(const Matrix<T>& A, const Plan& plan, Visit&& visit) {
  const Structure structure = structure_of(A);
  const double scale = std::ldexp(1.0, -plan.squarings);
  Doubling<T> doubling(structure, A, scale, evaluate<T>(structure, scale * A, 0, plan.scheme));
  Checkpoint checkpoint;
  for (int level = 0; level < plan.squarings; ++level) {
    checkpoint();
    visit(doubling);
    doubling.advance();
  }
  return std::move(doubling).exponential();
}

template <class T>
void check(const Matrix<T>& A) {
  require<ShapeMismatch>(A.rows() == A.cols(), "A must be square, got shape (", A.rows(), ", ",
                         A.cols(), ")");
  require(A.rows() >= 1, "A must have at least one row");
  require(A.allFinite(), "A must be finite");
}

/// Asks for as much memory as the temporaries of an exponential need together, and gives it back
/// untouched. The allocator of glibc then keeps freed blocks of that size for the next call; else
/// it returns each to the system, which clears its pages anew: half of the time for N = 256. Beyond
/// 32 MiB, its largest threshold, it does so anyway.
template <class T>
void keep_pages(Index order) {
  constexpr Index kTemporaries = 12;
  constexpr Index kMostBytes = Index{1} << 25;
  const Index size = kTemporaries * order * order;
  if (size > kMostBytes / static_cast<Index>(sizeof(T))) return;
  Vector<T> block(size);
  *reinterpret_cast<volatile double*>(block.data()) = 0.0;  // or the compiler drops it
}

// ---- actions -----------------------------------------------------------------------------------

/// Terms after which a series in a matrix of norm below 4 has ended, with room to spare.
constexpr int kMostTerms = 100;

/// φ_1(X)B … φ_order(X)B, `apply(block)` being block ← X block: the Taylor series of the last, the
/// others by φ_k = Xφ_{k+1} + 1/k!.
template <class T, class Apply>
std::vector<Matrix<T>> taylor_images(Apply&& apply, const Matrix<T>& B, Index order) {
  std::vector<Matrix<T>> images(static_cast<std::size_t>(order));
  Matrix<T> term = inverse_factorial(order) * B;
  Matrix<T> sum = term;
  int small = 0;  // two terms in a row, since X² may vanish where X does not
  for (int j = 1; j <= kMostTerms && small < 2; ++j) {
    apply(term);
    term /= static_cast<double>(j + order);
    sum += term;
    const bool negligible = term.cwiseAbs().maxCoeff() <= 0.25 * kUnit * sum.cwiseAbs().maxCoeff();
    small = negligible ? small + 1 : 0;
  }
  images[order - 1] = sum;
  for (Index k = order - 1; k >= 1; --k) {
    apply(sum);
    sum += inverse_factorial(k) * B;
    images[k - 1] = sum;
  }
  return images;
}

/// φ_k(X)B → φ_k(2X)B with `image(block)` = e^X block.
template <class T, class Image>
void double_images(Image&& image, std::vector<Matrix<T>>& images) {
  const auto order = static_cast<Index>(images.size());
  const std::vector<double> inverse = inverse_factorials(order + 1);
  for (Index k = order; k >= 1; --k) {  // from the top: image k needs the lower ones as they were
    Matrix<T> sum = image(images[k - 1]);
    for (Index j = 1; j <= k; ++j) sum += inverse[k - j] * images[j - 1];
    images[k - 1] = std::ldexp(1.0, static_cast<int>(-k)) * sum;
  }
}

}  // namespace

template <class T>
Matrix<T> exponential(const Matrix<T>& A) {
  check(A);
  keep_pages<T>(A.rows());
  const Plan plan = make_plan(power_norms(A), 0, kExponentialSchemes);
  return square_up(A, plan, [](const Doubling<T>&) {});
}

template <class T>
PhiAction<T> phi_action(const Matrix<T>& A, const Matrix<T>& B, Index order) {
  check(A);
  require<ShapeMismatch>(B.rows() == A.rows(), "B must have A's ", A.rows(), " rows, got ",
                         B.rows());
  keep_pages<T>(A.rows());
  const Plan plan = make_plan(power_norms(A), 0, kExponentialSchemes);
  const Matrix<T> X = std::ldexp(1.0, -plan.squarings) * A;
  PhiAction<T> result;
  if (order > 0) {
    result.images = taylor_images([&](Matrix<T>& block) { block = (X * block).eval(); }, B, order);
  }
  result.exponential = square_up(A, plan, [&](const Doubling<T>& doubling) {
    double_images([&](const Matrix<T>& block) { return doubling.image(block); }, result.images);
  });
  return result;
}

template <class T>
std::vector<Matrix<T>> phi_functions(const Matrix<T>& A, Index order) {
  require(order >= 0, "order must be at least 0, got ", order);
  if (order == 0) return {exponential(A)};
  check(A);
  const Structure structure = structure_of(A);
  const Plan plan = make_plan(power_norms(A), order, kPhiSchemes);
  const double scale = std::ldexp(1.0, -plan.squarings);
  const Matrix<T> X = scale * A;
  const std::vector<double> inverse = inverse_factorials(order + 1);
  std::vector<Matrix<T>> phi(static_cast<std::size_t>(order + 1));
  phi[order] = evaluate(structure, X, order, plan.scheme);
  for (Index k = order - 1; k >= 0; --k) {
    multiply(structure, X, phi[k + 1], phi[k]);
    if (k > 0) phi[k].diagonal().array() += T(inverse[k]);
  }
  Doubling<T> doubling(structure, A, scale, std::move(phi[0]));
  Matrix<T> product;
  Checkpoint checkpoint;
  for (int level = 0; level < plan.squarings; ++level) {
    checkpoint();
    for (Index k = order; k >= 1; --k) {
      doubling.multiply_into(phi[k], product);
      for (Index j = 1; j <= k; ++j) product += inverse[k - j] * phi[j];
      phi[k] = std::ldexp(1.0, static_cast<int>(-k)) * product;
    }
    doubling.advance();
  }
  phi[0] = std::move(doubling).exponential();
  return phi;
}

template <class T>
std::vector<Matrix<T>> phi_images(const LinearOperator<T>& A, const Matrix<T>& B, Index order) {
  int exponent = 0;
  static_cast<void>(std::frexp(A.norm, &exponent));
  const int squarings = std::max(0, exponent);
  const double scale = std::ldexp(1.0, -squarings);
  std::vector<Matrix<T>> images = taylor_images(
      [&](Matrix<T>& block) {
        A.apply(block);
        block *= T(scale);
      },
      B, order);
  for (int level = squarings; level >= 1; --level) {
    const Matrix<T> E = A.exponential(std::ldexp(1.0, -level));
    double_images([&](const Matrix<T>& block) { return Matrix<T>(E * block); }, images);
  }
  return images;
}

template Matrix<double> exponential(const Matrix<double>&);
template Matrix<Complex> exponential(const Matrix<Complex>&);
template std::vector<Matrix<double>> phi_functions(const Matrix<double>&, Index);
template std::vector<Matrix<Complex>> phi_functions(const Matrix<Complex>&, Index);
template PhiAction<double> phi_action(const Matrix<double>&, const Matrix<double>&, Index);
template PhiAction<Complex> phi_action(const Matrix<Complex>&, const Matrix<Complex>&, Index);
template std::vector<Matrix<double>> phi_images(const LinearOperator<double>&,
                                                const Matrix<double>&, Index);

}  // namespace resolvent
