/* The function that every row calls: y := a*x + y. */

#include <stddef.h>

void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])
{
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}
