/* mapcall.h: what the parameters of C functions mean, for mapcall and for compilers.
 *
 *     #include <mapcall.h>
 *
 *     void smooth(int n, const double x[n], int window,
 *                 MAPCALL_EQUALS(n - window + 1) int nout, double out[nout],
 *                 const double *__counted_by_or_null(window) weights);
 *
 * mapcall reads the notations; a compiler reads those that it knows, and this header defines the others
 * away. So one header serves mapcall and all of GCC 8, Clang 10 and later ones, in C and in C++.
 */
#ifndef MAPCALL_H
#define MAPCALL_H

#ifdef __mapcall__

/* The value of an integer that follows from other parameters: it is passed without being given. */
#define MAPCALL_EQUALS(value) [[mapcall::equals(value)]]
/* The smallest and the largest value of a number. */
#define MAPCALL_BETWEEN(least, most) [[mapcall::between(least, most)]]
/* The number of elements from one row of an array to the next (column, if it is column-major). */
#define MAPCALL_STRIDE(elements) [[mapcall::stride(elements)]]
/* The first index of an array is the one that moves fastest, as in Fortran. */
#define MAPCALL_COLUMN_MAJOR [[mapcall::column_major]]
/* The function that destroys what the declared function returns. */
#define MAPCALL_DESTROYED_BY(function) __attribute__((malloc(function, 1)))
/* How the target of a pointer is accessed: read_only, write_only, read_write or none, the number of the
 * parameter, and the number of the parameter that is its length. */
#define MAPCALL_ACCESS(...) __attribute__((access(__VA_ARGS__)))

/* Words that mapcall knows itself. */
#undef _Nullable
#undef _Nonnull
#undef _Null_unspecified
#undef __counted_by
#undef __counted_by_or_null
#undef __sized_by
#undef __sized_by_or_null

#else

#define MAPCALL_EQUALS(value)
#define MAPCALL_BETWEEN(least, most)
#define MAPCALL_STRIDE(elements)
#define MAPCALL_COLUMN_MAJOR

#ifdef __has_attribute
#define MAPCALL_HAS_ATTRIBUTE(name) __has_attribute(name)
#else
#define MAPCALL_HAS_ATTRIBUTE(name) 0
#endif

/* Only GCC has the arguments of `malloc`. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
#define MAPCALL_DESTROYED_BY(function) __attribute__((malloc(function, 1)))
#else
#define MAPCALL_DESTROYED_BY(function)
#endif

#if MAPCALL_HAS_ATTRIBUTE(access)
#define MAPCALL_ACCESS(...) __attribute__((access(__VA_ARGS__)))
#else
#define MAPCALL_ACCESS(...)
#endif

#ifdef __clang__
/* A pointer without a word about NULL is none that was forgotten. */
#pragma clang diagnostic ignored "-Wnullability-completeness"
#else
#ifndef _Nullable
#define _Nullable
#endif
#ifndef _Nonnull
#define _Nonnull
#endif
#ifndef _Null_unspecified
#define _Null_unspecified
#endif
#endif

/* Clang's bounds safety defines them. */
#ifdef __has_include
#if __has_include(<ptrcheck.h>)
#include <ptrcheck.h>
#endif
#endif
#ifndef __counted_by
#define __counted_by(length)
#endif
#ifndef __counted_by_or_null
#define __counted_by_or_null(length)
#endif
#ifndef __sized_by
#define __sized_by(size)
#endif
#ifndef __sized_by_or_null
#define __sized_by_or_null(size)
#endif

#endif

#endif
