// An extension module for saxpy with nanobind. No argument is converted: a copy of y would lose the result.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

namespace nb = nanobind;
using namespace nb::literals;

extern "C" void saxpy(size_t n, float a, const float *x, float *y);

template <typename T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

NB_MODULE(saxpy_nanobind, module)
{
    module.def(
        "saxpy",
        [](float a, Vector<const float> x, Vector<float> y) {
            if (x.shape(0) != y.shape(0))
                throw nb::value_error("x and y differ in length");
            saxpy(x.shape(0), a, x.data(), y.data());
        },
        "a"_a, "x"_a.noconvert(), "y"_a.noconvert());
}
