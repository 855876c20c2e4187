/* stdio [ARG...] < TEXT: what small C programs do: arguments, getenv, standard input line by line,
 * qsort, snprintf and sscanf there and back, buffered output of some size. */
#include <ctype.h>
#include <string.h>

#include "fail.h"

enum { NUMBERS = 2000 };

static int by_value(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static void read_input(void)
{
    char line[4096];
    unsigned long lines = 0, words = 0, bytes = 0;
    while (fgets(line, sizeof line, stdin)) {
        lines += strchr(line, '\n') != NULL;
        bytes += strlen(line);
        for (size_t at = 0; line[at]; at++)
            words += !isspace((unsigned char)line[at]) && isspace((unsigned char)line[at + 1]);
    }
    if (ferror(stdin))
        FAIL("stdio: standard input: expected its end, seen an error");
    printf("input: %lu lines, %lu words, %lu bytes\n", lines, words, bytes);
}

static void sort(void)
{
    static int numbers[NUMBERS];
    unsigned state = 1;
    for (int i = 0; i < NUMBERS; i++)
        numbers[i] = (int)((state = state * 1103515245 + 12345) >> 8) % 10000;
    qsort(numbers, NUMBERS, sizeof *numbers, by_value);
    for (int i = 1; i < NUMBERS; i++)
        if (numbers[i - 1] > numbers[i])
            FAIL("stdio: sorted number %d: expected at least %d, seen %d", i, numbers[i - 1], numbers[i]);
    printf("sorted: %d to %d, the middle one is %d\n", numbers[0], numbers[NUMBERS - 1],
           numbers[NUMBERS / 2]);
}

static void there_and_back(void)
{
    for (int i = -50; i < 50; i++) {
        char text[64];
        int whole;
        double real;
        snprintf(text, sizeof text, "%d %.17g", i * 77777, i / 7.0);
        if (sscanf(text, "%d %lf", &whole, &real) != 2 || whole != i * 77777 || real != i / 7.0)
            FAIL("stdio: '%s' scanned: expected %d and %.17g, seen %d and %.17g", text, i * 77777, i / 7.0,
                 whole, real);
    }
}

int main(int argc, char **argv)
{
    const char *setting = getenv("GUEST_SETTING");
    for (int i = 1; i < argc; i++)
        printf("argument %d: '%s'\n", i, argv[i]);
    printf("GUEST_SETTING: %s\n", setting ? setting : "(not set)");
    read_input();
    sort();
    there_and_back();
    for (int i = 0; i < 1000; i++)
        printf("%d%c", i * i, i % 10 == 9 ? '\n' : ' ');
    puts("ok");
    return fflush(stdout) ? 1 : 0;
}
