/* hello [ARG...]: a C program's start: arguments, page size, printf of whole and floating numbers,
 * malloc from the break and, for a large block, from mmap. */
#include <string.h>
#include <unistd.h>

#include "fail.h"

static char *filled(size_t size, int byte)
{
    char *block = malloc(size);
    if (!block)
        FAIL("malloc of %zu bytes: expected memory, seen none", size);
    memset(block, byte, size);
    return block;
}

static void check(const char *block, size_t size, int byte)
{
    for (size_t at = 0; at < size; at++)
        if (block[at] != byte)
            FAIL("block of %zu bytes, byte %zu: expected %d, seen %d", size, at, byte, block[at]);
}

int main(int argc, char **argv)
{
    printf("hello from C, page size %ld\n", sysconf(_SC_PAGESIZE));
    for (int i = 1; i < argc; i++)
        printf("argument %d: %s\n", i, argv[i]);
    printf("1/3 = %.17g, e = %e, hex %a, %d %u %lx %s\n", 1.0 / 3, 2.718281828459045, 0.1, -1, 42u,
           0xfeedUL, "text");
    char *small = filled(1000, 's'), *large = filled(3 << 20, 'l');
    check(small, 1000, 's');
    check(large, 3 << 20, 'l');
    small = realloc(small, 2 << 20);
    if (!small)
        FAIL("realloc to 2 MiB: expected memory, seen none");
    check(small, 1000, 's');
    large = realloc(large, 6 << 20); /* mremap, which may move it */
    if (!large)
        FAIL("realloc to 6 MiB: expected memory, seen none");
    check(large, 3 << 20, 'l');
    free(large);
    free(small);
    puts("ok");
    return 0;
}
