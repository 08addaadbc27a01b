/* Computes y += a * x. Every row calls this function. */

#include <stddef.h>

void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])
{
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}
