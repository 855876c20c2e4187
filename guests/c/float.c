/* float: floating point as the processor does it: libm, the four rounding modes, the exception flags,
 * conversions at their limits, and fused multiply-add. It prints the bits, to be compared with what
 * qemu-riscv64 prints for the same program. */
#include <fenv.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "fail.h"

static const struct {
    const char *name;
    int mode;
} modes[] = {{"near", FE_TONEAREST}, {"zero", FE_TOWARDZERO}, {"down", FE_DOWNWARD}, {"up", FE_UPWARD}};

static const double values[] = {0.0,      -0.0,    1.0,      -1.0 / 3, 0.1,      1e300,   -1e-300,
                                DBL_MIN,  5e-324,  DBL_MAX,  INFINITY, -INFINITY, NAN,    2147483648.5,
                                -9.3e18,  1.8e19,  1e20,     0.5,      1.5,      2.5};

enum { VALUES = sizeof values / sizeof *values };

/* Keeps the compiler from working anything out itself. */
static double hide(double value)
{
    volatile double hidden = value;
    return hidden;
}

static uint64_t bits(double value)
{
    uint64_t result;
    memcpy(&result, &value, sizeof result);
    return result;
}

static uint32_t bits32(float value)
{
    uint32_t result;
    memcpy(&result, &value, sizeof result);
    return result;
}

/* Each operation with the flags that it raises; volatile, so that it comes before they are read. */
#define SHOW(text, format, expression)                                                             \
    do {                                                                                           \
        feclearexcept(FE_ALL_EXCEPT);                                                              \
        volatile __auto_type result = (expression);                                                         \
        int flags = fetestexcept(FE_ALL_EXCEPT);                                                   \
        printf("  %s %" format " %02x\n", text, result, flags);                                    \
    } while (0)

static void arithmetic(double a, double b)
{
    printf(" %a %a\n", a, b);
    SHOW("add", PRIx64, bits(hide(a) + hide(b)));
    SHOW("mul", PRIx64, bits(hide(a) * hide(b)));
    SHOW("div", PRIx64, bits(hide(a) / hide(b)));
    SHOW("fma", PRIx64, bits(fma(hide(a), hide(b), hide(0.1))));
    SHOW("min", PRIx64, bits(fmin(hide(a), hide(b))));
    SHOW("less", "d", hide(a) < hide(b));
    SHOW("div32", PRIx32, bits32((float)hide(a) / (float)hide(b)));
}

static void conversions(double a)
{
    int32_t word;
    uint32_t uword;
    int64_t dword;
    uint64_t udword;
    printf(" %a\n", a);
    a = hide(a);
    /* In assembly: out of range is undefined in C, and defined in RISC-V. */
#define CONVERT(instruction, to, format)                                                           \
    feclearexcept(FE_ALL_EXCEPT);                                                                  \
    __asm__ volatile(instruction " %0, %1" : "=r"(to) : "f"(a));                                   \
    printf("  " instruction " %" format " %02x\n", to, fetestexcept(FE_ALL_EXCEPT))
    CONVERT("fcvt.w.d", word, PRId32);
    CONVERT("fcvt.wu.d", uword, PRIu32);
    CONVERT("fcvt.l.d", dword, PRId64);
    CONVERT("fcvt.lu.d", udword, PRIu64);
    SHOW("sqrt", PRIx64, bits(sqrt(a)));
    SHOW("single", PRIx32, bits32((float)a));
    SHOW("rint", PRIx64, bits(rint(a)));
    SHOW("class", "d", fpclassify(a));
}

static void library(void)
{
    for (double x = 0.125; x < 1000; x *= 3) {
        double h = hide(x);
        printf("x = %.17g: sin %.17g cos %.17g exp %.17g log %.17g\n", x, sin(h), cos(h), exp(-h), log(h));
        printf("  pow %.17g atan2 %.17g tgamma %.17g cbrt %.17g\n", pow(h, 1.7), atan2(h, 3),
               tgamma(h / 10), cbrt(h));
    }
    printf("long double: %.30Lg\n", sqrtl(2.0L));
}

int main(void)
{
    double third = hide(1.0) / hide(3.0);
    if (bits(third) != 0x3fd5555555555555)
        FAIL("float: 1/3: expected 3fd5555555555555, seen %" PRIx64, bits(third));
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        if (fesetround(modes[m].mode) || fegetround() != modes[m].mode)
            FAIL("float: rounding mode %s: expected to be set, seen %d", modes[m].name, fegetround());
        printf("rounding: %s, 0.3 prints as %.20f\n", modes[m].name, hide(0.3));
        for (int i = 0; i < VALUES; i++) {
            conversions(values[i]);
            arithmetic(values[i], values[(i * 7 + 3) % VALUES]);
        }
    }
    fesetround(FE_TONEAREST);
    library();
    puts("ok");
    return 0;
}
