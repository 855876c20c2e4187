/* sqlite DATABASE [ROWS [WRITERS [ROUNDS]]]: SQLite over a file, memory-mapped, once with a rollback
 * journal and once with a write-ahead log, whose index is shared memory. For each: a workload with
 * indices, joins and a vacuum; a process killed with its changes half written; threads, then
 * processes, that write at the same time under a reader; integrity_check at the end. */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail.h"
#include "sqlite3.h"

enum { MOST_WRITERS = 16, PATIENCE_MS = 100000 };

static const char *path, *journal;
static int rows, writers, rounds;

static sqlite3 *open_database(void)
{
    sqlite3 *db;
    int code = sqlite3_open(path, &db);
    if (code != SQLITE_OK)
        FAIL("sqlite: open %s: expected a database, seen %s", path, sqlite3_errstr(code));
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, PATIENCE_MS);
    return db;
}

static void close_database(sqlite3 *db)
{
    int code = sqlite3_close(db);
    if (code != SQLITE_OK)
        FAIL("sqlite: close: expected success, seen %s", sqlite3_errstr(code));
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        FAIL("sqlite: \"%s\": expected a statement, seen %s", sql, sqlite3_errmsg(db));
    return statement;
}

/* Whether there is a row. */
static int step(sqlite3 *db, sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        FAIL("sqlite: process %d, \"%s\": expected success, seen %d, %s", (int)getpid(),
             sqlite3_sql(statement), sqlite3_extended_errcode(db), sqlite3_errmsg(db));
    return code == SQLITE_ROW;
}

static void run(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = prepare(db, sql);
    while (step(db, statement))
        ;
    sqlite3_finalize(statement);
}

static int64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = prepare(db, sql);
    int64_t value = step(db, statement) ? sqlite3_column_int64(statement, 0) : -1;
    sqlite3_finalize(statement);
    return value;
}

static void expect(sqlite3 *db, const char *sql, int64_t wanted)
{
    int64_t seen = number(db, sql);
    if (seen != wanted)
        FAIL("sqlite: %s, \"%s\": expected %lld, seen %lld", journal, sql, (long long)wanted,
             (long long)seen);
}

/* FNV-1a over all that a query gives, and how many rows. */
static void show(sqlite3 *db, const char *what, const char *sql)
{
    sqlite3_stmt *statement = prepare(db, sql);
    uint64_t hash = 0xcbf29ce484222325;
    int count = 0;
    for (; step(db, statement); count++)
        for (int column = 0; column < sqlite3_column_count(statement); column++) {
            const unsigned char *text = sqlite3_column_text(statement, column);
            for (; text && *text; text++)
                hash = (hash ^ *text) * 0x100000001b3;
            hash = (hash ^ 0xff) * 0x100000001b3;
        }
    sqlite3_finalize(statement);
    printf("%s: %s: %d rows, checksum %016llx\n", journal, what, count, (unsigned long long)hash);
}

static void integrity(sqlite3 *db)
{
    sqlite3_stmt *statement = prepare(db, "PRAGMA integrity_check");
    while (step(db, statement))
        printf("%s: integrity_check: %s\n", journal, sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
}

/* A cache of 10 pages, so that most reads go to the mapping, and transactions spill. */
static sqlite3 *open_working(void)
{
    sqlite3 *db = open_database();
    expect(db, "PRAGMA mmap_size = 16777216", 16777216);
    run(db, "PRAGMA synchronous = NORMAL");
    run(db, "PRAGMA cache_size = 10");
    return db;
}

/* A number that every run draws the same. */
static uint64_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005 + 1442695040888963407;
    return *state >> 33;
}

static const char *words[] = {"zero", "one", "two", "three", "four", "five", "six", "seven"};

static void insert(sqlite3 *db, const char *table, int count, uint64_t seed)
{
    char text[128];
    snprintf(text, sizeof text, "INSERT INTO %s VALUES (?, ?, ?)", table);
    sqlite3_stmt *statement = prepare(db, text);
    for (int n = 1; n <= count; n++) {
        uint64_t value = draw(&seed) % (4 * (uint64_t)count);
        snprintf(text, sizeof text, "%s hundred %s, %llu bytes of %0*d", words[value % 8],
                 words[value / 8 % 8], (unsigned long long)value, (int)(value % 60), n);
        sqlite3_bind_int(statement, 1, n);
        sqlite3_bind_int64(statement, 2, (sqlite3_int64)value);
        sqlite3_bind_text(statement, 3, text, -1, SQLITE_TRANSIENT);
        step(db, statement);
        sqlite3_reset(statement);
    }
    sqlite3_finalize(statement);
}

static void fill(sqlite3 *db)
{
    run(db, "CREATE TABLE plain (a INTEGER, b INTEGER, c TEXT)");
    run(db, "CREATE TABLE keyed (a INTEGER PRIMARY KEY, b INTEGER, c TEXT)");
    run(db, "CREATE TABLE small (a INTEGER PRIMARY KEY, b INTEGER UNIQUE ON CONFLICT REPLACE, c TEXT)");
    run(db, "CREATE TABLE counter (n INTEGER)");
    run(db, "CREATE TABLE log (writer INTEGER, round INTEGER, text TEXT, PRIMARY KEY (writer, round))");
    run(db, "INSERT INTO counter VALUES (0)");
    insert(db, "small", 20, 3); /* a transaction for each */
    run(db, "BEGIN");
    insert(db, "plain", rows, 1);
    insert(db, "keyed", rows, 2);
    run(db, "COMMIT");
    run(db, "CREATE INDEX plain_b ON plain (b)");
    run(db, "CREATE INDEX plain_c ON plain (c, a)");
}

static void workload(sqlite3 *db)
{
    fill(db);
    show(db, "range by index", "SELECT count(*), avg(b), max(c) FROM plain WHERE b BETWEEN 100 AND 900");
    show(db, "text", "SELECT a, c FROM plain WHERE c LIKE '%hundred seven%' ORDER BY c, a");
    show(db, "join", "SELECT p.a, k.c FROM plain p JOIN keyed k ON p.b = k.a ORDER BY p.a, k.a");
    show(db, "groups", "SELECT b % 17 AS g, count(*), sum(length(c)) FROM keyed GROUP BY g ORDER BY g");
    show(db, "windows", "SELECT sum(b) OVER (ORDER BY a ROWS 10 PRECEDING) FROM keyed");
    run(db, "BEGIN");
    run(db, "UPDATE plain SET b = b + 1 WHERE a % 3 = 0");
    run(db, "UPDATE keyed SET c = upper(c) || b WHERE b % 5 = 1");
    run(db, "SAVEPOINT before");
    run(db, "DELETE FROM keyed");
    run(db, "UPDATE plain SET c = 'lost'");
    run(db, "ROLLBACK TO before");
    run(db, "COMMIT");
    run(db, "DELETE FROM plain WHERE b % 4 = 2");
    run(db, "INSERT INTO keyed SELECT a + 1000000, b, c FROM plain");
    run(db, "CREATE TABLE copy AS SELECT * FROM keyed ORDER BY c");
    run(db, "DROP TABLE copy");
    run(db, "VACUUM");
    show(db, "plain", "SELECT * FROM plain ORDER BY a");
    show(db, "keyed", "SELECT * FROM keyed ORDER BY a");
    show(db, "small", "SELECT * FROM small ORDER BY a");
}

/* Adds one to the counter and a line to the log, together, round after round. */
static void *write_rounds(void *argument)
{
    int me = (int)(intptr_t)argument;
    char sql[160];
    sqlite3 *db = open_working();
    for (int round = 0; round < rounds; round++) {
        run(db, "BEGIN IMMEDIATE");
        run(db, "UPDATE counter SET n = n + 1");
        snprintf(sql, sizeof sql, "INSERT INTO log VALUES (%d, %d, hex(zeroblob(%d)))", me, round,
                 100 + 37 * round);
        run(db, sql);
        run(db, "COMMIT");
    }
    close_database(db);
    return NULL;
}

/* Sees the counter and the log agree, whoever writes, until all have written. */
static void read_rounds(int64_t total)
{
    int64_t seen = 0;
    sqlite3 *db = open_working();
    while (seen < total) {
        run(db, "BEGIN");
        int64_t before = seen;
        seen = number(db, "SELECT n FROM counter");
        expect(db, "SELECT count(*) FROM log", seen);
        run(db, "COMMIT");
        if (seen < before)
            FAIL("sqlite: counter: expected at least %lld, seen %lld", (long long)before, (long long)seen);
    }
    close_database(db);
}

static pid_t start(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        FAIL("sqlite: fork: expected a child, seen an error");
    return child;
}

static void end(pid_t child, int wanted)
{
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != wanted)
        FAIL("sqlite: process %d: expected status %#x, seen %#x", (int)child, wanted, status);
}

/* Nobody has the database open while its users are born: locks and mappings are not inherited. */
static void processes(int64_t total)
{
    pid_t children[MOST_WRITERS + 1];
    for (int n = 0; n <= writers; n++)
        if ((children[n] = start()) == 0) {
            if (n == writers)
                read_rounds(total);
            else
                write_rounds((void *)(intptr_t)n);
            _exit(0);
        }
    for (int n = 0; n <= writers; n++)
        end(children[n], 0);
}

static void threads(void)
{
    pthread_t each[MOST_WRITERS];
    for (int n = 0; n < writers; n++)
        if (pthread_create(&each[n], NULL, write_rounds, (void *)(intptr_t)(100 + n)) != 0)
            FAIL("sqlite: thread %d: expected one, seen an error", n);
    for (int n = 0; n < writers; n++)
        pthread_join(each[n], NULL);
}

/* A process dies in the middle of a transaction that has spilled into the file or its log. */
static void crash(void)
{
    pid_t child = start();
    if (child == 0) {
        sqlite3 *db = open_working();
        run(db, "BEGIN IMMEDIATE");
        run(db, "UPDATE plain SET c = 'half written', b = -1");
        run(db, "DELETE FROM keyed WHERE a % 2 = 0");
        raise(SIGKILL);
    }
    end(child, SIGKILL);
    sqlite3 *db = open_working();
    expect(db, "SELECT count(*) FROM plain WHERE b = -1", 0);
    show(db, "keyed after a crash", "SELECT * FROM keyed ORDER BY a");
    integrity(db);
    close_database(db);
}

static void with_journal(const char *mode)
{
    char sql[64];
    int64_t total = (int64_t)writers * rounds;
    journal = mode;
    sqlite3 *db = open_working();
    snprintf(sql, sizeof sql, "PRAGMA journal_mode = %s", mode);
    run(db, sql);
    workload(db);
    close_database(db);
    crash();
    threads();
    processes(2 * total);
    db = open_working();
    expect(db, "SELECT n FROM counter", 2 * total);
    expect(db, "SELECT count(*) FROM log", 2 * total);
    show(db, "log", "SELECT writer, round, length(text) FROM log ORDER BY writer, round");
    integrity(db);
    close_database(db);
}

static void fresh(void)
{
    static const char *endings[] = {"", "-journal", "-wal", "-shm"};
    char name[512];
    for (int n = 0; n < 4; n++) {
        snprintf(name, sizeof name, "%s%s", path, endings[n]);
        unlink(name);
    }
}

int main(int argc, char **argv)
{
    path = argc > 1 ? argv[1] : "";
    rows = argc > 2 ? atoi(argv[2]) : 1000;
    writers = argc > 3 ? atoi(argv[3]) : 3;
    rounds = argc > 4 ? atoi(argv[4]) : 10;
    if (!*path || strlen(path) > 400 || rows < 1 || writers < 1 || writers > MOST_WRITERS || rounds < 1)
        FAIL("sqlite: arguments: expected DATABASE [ROWS [WRITERS [ROUNDS]]], at most %d writers",
             MOST_WRITERS);
    printf("sqlite %s: %d rows, %d writers of %d rounds\n", sqlite3_libversion(), rows, writers, rounds);
    fresh();
    with_journal("delete");
    fresh();
    with_journal("wal");
    puts("ok");
    return 0;
}
