/* The functions that calls.py and planted.py call. */
#include <errno.h>
#include <stdlib.h>

void saxpy(size_t n, float a, const float *x, float *y) {
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

double mixed(signed char a, unsigned short b, int c, long d, float e, double f, _Bool g, long h,
             long i, long j, double k) {
    return a + b + c + d + e + f + g + h + i + j + k;
}

double _Complex turned(double _Complex z, float _Complex w) { return z * 1i + w; }

int fail(int code) {
    errno = code;
    return -1;
}

double sums(const int *n, const int *m, const double *a, const int *lda, double *sums, int *info) {
    for (int j = 0; j < *m; j++)
        for (int i = 0; i < *n; i++)
            sums[j] += a[i + j * *lda];
    *info = *m;
    return sums[0];
}

struct pair { double x; int n; };
struct large { double x[5]; struct pair p; };
struct pair turn(struct pair p) { return (struct pair){p.n, (int)p.x}; }
struct large enlarge(struct pair p, struct large l) {
    l.p = p;
    l.x[0] += p.n;
    return l;
}

struct counter { int value; };
struct counter *counter_open(int value) {
    struct counter *c = malloc(sizeof *c);
    if (c) c->value = value;
    return c;
}
int counter_make(int value, struct counter **made) {
    *made = counter_open(value);
    return *made ? 0 : 1;
}
int counter_value(const struct counter *c) { return c->value; }
void counter_close(struct counter *c) { free(c); }
const int *counter_look(struct counter *c) { return &c->value; }

double apply(double (*f)(double), double x) { return f(x) + 1; }
struct pair apply_pair(struct pair (*f)(struct pair, const char *), struct pair p) {
    return f(p, "text");
}

/* Reads one element after the last. */
double sum_beyond(size_t n, const double *x) {
    double sum = 0;
    for (size_t i = 0; i <= n; i++) sum += x[i];
    return sum;
}
