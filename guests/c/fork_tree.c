/* fork_tree [DEPTH [WIDTH [KIB]]]: a tree of processes in C that checks copy-on-write of the heap, of static
 * data and of the stack, collects children with waitpid, and counts in shared memory. */
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail.h"

enum { STATIC = 64 << 10, STACK = 32 << 10, WIDTH_MAX = 50 };

static unsigned char data[STATIC];
static unsigned char *heap;
static atomic_int *count;
static int width;
static size_t block;

struct area {
    const char *name;
    unsigned char *bytes;
    size_t size;
};

static void check(const struct area *area, int mark, int me, const char *when)
{
    for (size_t at = 0; at < area->size; at++)
        if (area->bytes[at] != mark)
            FAIL("fork_tree: process %d, %s, %s byte %zu: expected %d, seen %d", me, when, area->name,
                 at, mark, area->bytes[at]);
}

/* The life of process `me`, which finds its parent's mark everywhere. */
static void grow(int me, int parents, int depth, unsigned char *stack)
{
    struct area areas[] = {{"heap", heap, block}, {"data", data, STATIC}, {"stack", stack, STACK}};
    int mine = 1 + me % 250;
    pid_t children[WIDTH_MAX];
    atomic_fetch_add(count, 1);
    for (int i = 0; i < 3; i++) {
        check(&areas[i], parents, me, "inherited");
        memset(areas[i].bytes, mine, areas[i].size);
    }
    for (int nth = 0; depth > 0 && nth < width; nth++) {
        fflush(stdout);
        children[nth] = fork();
        if (children[nth] < 0)
            FAIL("fork_tree: process %d, child %d: fork: expected a child, seen an error", me, nth);
        if (children[nth] == 0) {
            grow(me * width + 1 + nth, mine, depth - 1, stack);
            _exit(20 + nth);
        }
    }
    for (int nth = 0; depth > 0 && nth < width; nth++) {
        int status = 0;
        pid_t pid = waitpid(children[nth], &status, 0);
        if (pid != children[nth] || !WIFEXITED(status) || WEXITSTATUS(status) != 20 + nth)
            FAIL("fork_tree: process %d, child %d: expected exit status %d, seen status %#x", me, nth,
                 20 + nth, status);
    }
    for (int i = 0; i < 3; i++)
        check(&areas[i], mine, me, "after its children");
    heap = realloc(heap, 2 * block); /* each process's own, from here on */
    if (!heap)
        FAIL("fork_tree: process %d: realloc: expected memory, seen none", me);
    areas[0].bytes = heap;
    check(&areas[0], mine, me, "after realloc");
}

int main(int argc, char **argv)
{
    unsigned char stack[STACK];
    int depth = argc > 1 ? atoi(argv[1]) : 3, total = 0;
    width = argc > 2 ? atoi(argv[2]) : 3;
    block = (size_t)(argc > 3 ? atol(argv[3]) : 256) << 10;
    if (depth < 0 || block < 1 || width < 1 || width > WIDTH_MAX)
        FAIL("fork_tree: arguments: expected a depth, a width of 1 to %d, and KiB", WIDTH_MAX);
    count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    heap = malloc(block);
    if (count == MAP_FAILED || !heap)
        FAIL("fork_tree: memory at the start: expected some, seen none");
    memset(heap, 255, block);
    memset(data, 255, STATIC);
    memset(stack, 255, STACK);
    grow(0, 255, depth, stack);
    for (int level = 0, wide = 1; level <= depth; level++, wide *= width)
        total += wide;
    if (atomic_load(count) != total)
        FAIL("fork_tree: processes counted: expected %d, seen %d", total, atomic_load(count));
    printf("fork_tree: %d processes in a tree of depth %d and width %d\n", total, depth, width);
    puts("ok");
    return 0;
}
