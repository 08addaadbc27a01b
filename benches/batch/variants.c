/* Plain loops over a vector variant by its pointer, for arrays that fill the registers. Compiled with the size of the
   registers: -O3 -march=native -DBYTES=64. */

#include <stddef.h>

#define LOOPS(type)                                                                                                  \
    typedef type type##_vector __attribute__((vector_size(BYTES)));                                                  \
    typedef type type##_array __attribute__((vector_size(BYTES), aligned(sizeof(type))));                            \
                                                                                                                     \
    void type##_1(type##_vector (*f)(type##_vector), size_t n, const type x[], type out[])                           \
    {                                                                                                                \
        for (size_t i = 0; i < n; i += BYTES / sizeof(type))                                                         \
            *(type##_array *)&out[i] = f(*(const type##_array *)&x[i]);                                              \
    }                                                                                                                \
                                                                                                                     \
    void type##_2(type##_vector (*f)(type##_vector, type##_vector), size_t n, const type x[], const type y[],        \
                  type out[])                                                                                        \
    {                                                                                                                \
        for (size_t i = 0; i < n; i += BYTES / sizeof(type))                                                         \
            *(type##_array *)&out[i] = f(*(const type##_array *)&x[i], *(const type##_array *)&y[i]);                \
    }

LOOPS(double)
LOOPS(float)
