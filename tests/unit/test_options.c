/* The command line of the sub-commands: each table parsed as main does. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../agent/request.h"
#include "../../injector/options.h"
#include "unit.h"

#define MAX_ARGUMENTS 12

/* Splits `line` at spaces and parses it.  `storage` keeps the words. */
static void parse(const struct command *command, const char *line, struct options *options,
                  char storage[256])
{
    char *argv[MAX_ARGUMENTS + 1] = {(char *)"pyhot"};
    int argc = 1;

    *options = (struct options){.timeout_ms = DEFAULT_TIMEOUT_MS};
    strcpy(storage, line);
    for (char *word = strtok(storage, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    argp_parse(command->argp, argc, argv, 0, NULL, options);
}

static void free_options(struct options *options)
{
    free(options->modules.items);
    free(options->new_names.items);
    free(options->keep_names.items);
}

static void test_attach(void **state)
{
    struct options options;
    char words[256];

    (void)state;
    parse(&command_attach,
          "--dry-run 42 shop.cart --new A shop --keep=B --keep C --data=keep --json -vv", &options,
          words);
    assert_int_equal(options.pid, 42);
    assert_int_equal(options.modules.n, 2);
    assert_string_equal(options.modules.items[0], "shop.cart");
    assert_string_equal(options.modules.items[1], "shop");
    assert_int_equal(options.new_names.n, 1);
    assert_string_equal(options.new_names.items[0], "A");
    assert_int_equal(options.keep_names.n, 2);
    assert_string_equal(options.keep_names.items[1], "C");
    assert_int_equal(options.flags, PYHOT_DRY_RUN);
    assert_int_equal(options.data_policy, PYHOT_DATA_KEEP);
    assert_int_equal(options.timeout_ms, DEFAULT_TIMEOUT_MS);
    assert_int_equal(options.verbose, 2);
    assert_true(options.json);
    assert_false(options.quiet);
    free_options(&options);
}

static void test_attach_stale(void **state)
{
    struct options options;
    char words[256];

    (void)state;
    parse(&command_attach, "--stale --force 42 -q --timeout 2.5 --color=never", &options, words);
    assert_int_equal(options.modules.n, 0);
    assert_int_equal(options.flags, PYHOT_STALE | PYHOT_FORCE);
    assert_int_equal(options.timeout_ms, 2500);
    assert_int_equal(options.color, COLOR_NEVER);
    assert_true(options.quiet);
    free_options(&options);
}

static void test_list_stale(void **state)
{
    struct options options;
    char words[256];

    (void)state;
    parse(&command_list_stale, "42 --objects --exit-code shop", &options, words);
    assert_int_equal(options.pid, 42);
    assert_int_equal(options.flags, PYHOT_OBJECTS);
    assert_true(options.exit_code);
    assert_int_equal(options.modules.n, 1);
    free_options(&options);
}

/* argp ends the process on a usage error, so each is tried in a child. */
static int exit_status_of(const struct command *command, const char *line)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct options options;
        char words[256];

        fclose(stderr);
        argp_err_exit_status = EXIT_USAGE;
        parse(command, line, &options, words);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_usage_errors(void **state)
{
    static const struct {
        const struct command *command;
        const char *line;
    } cases[] = {
        {&command_attach, ""},
        {&command_attach, "42"},
        {&command_attach, "shop.cart"},
        {&command_attach, "0 mod"},
        {&command_attach, "42x mod"},
        {&command_attach, "99999999999999 mod"},
        {&command_attach, "-- -42 mod"},
        {&command_attach, "42 mod --stale"},
        {&command_attach, "42 mod --data=some"},
        {&command_attach, "42 mod --data"},
        {&command_attach, "42 mod --color=red"},
        {&command_attach, "42 mod --objects"},
        {&command_attach, "42 mod --via=magic"},
        {&command_list_stale, ""},
        {&command_list_stale, "42 --dry-run"},
        {&command_ps, "42x"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        if (exit_status_of(cases[i].command, cases[i].line) != EXIT_USAGE)
            fail_msg("\"%s %s\" is not a usage error", cases[i].command->name, cases[i].line);
    assert_int_equal(exit_status_of(&command_attach, "42 mod"), 0);
}

static void test_timeouts(void **state)
{
    static const char *const bad[] = {"", "0", "-1", "soon", "1s", "nan", "inf", "1e9", "0.0001"};

    (void)state;
    assert_int_equal(parse_timeout("2"), 2000);
    assert_int_equal(parse_timeout("0.25"), 250);
    assert_int_equal(parse_timeout("86400"), 86400000);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(parse_timeout(bad[i]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attach),     cmocka_unit_test(test_attach_stale),
        cmocka_unit_test(test_list_stale), cmocka_unit_test(test_usage_errors),
        cmocka_unit_test(test_timeouts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
