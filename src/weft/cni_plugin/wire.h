/* What the CNI programs have in common: CNI's errors and versions, as much of JSON as they need, and the wire to the
 * node process. Each is one source file that says PROGRAM, its name in messages, before it includes this.
 */
#ifndef WIRE_H
#define WIRE_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST ((size_t)16 << 20) /* bytes of standard input, and of an answer */
#define DEEPEST 200             /* a value within a value within… */

#ifndef ANSWER_SECONDS
#error "say how long an answer may take"
#endif

enum code { INCOMPATIBLE = 1, ENVIRONMENT = 4, DECODING = 6, CONFIG = 7, LATER = 11, UNAVAILABLE = 50, OURS = 100 };

static const char *const VERSIONS[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
enum { V_0_3_0, V_0_3_1, V_0_4_0, V_1_0_0, V_1_1_0, VERSION_COUNT };

extern char **environ;

/* ---- bytes ---- */

struct bytes {
    char *at;
    size_t length, room;
};

/* A part of somebody else's bytes; `at` is NULL where there is none. */
struct slice {
    const char *at;
    size_t length;
};

static struct slice answer_version; /* the version that an error is told in */

static struct slice sliced(const char *text) { return (struct slice){text, strlen(text)}; }

static bool same(struct slice one, const char *text) {
    return one.at != NULL && one.length == strlen(text) && memcmp(one.at, text, one.length) == 0;
}

static bool write_all(int to, const char *at, size_t length) {
    while (length > 0) {
        ssize_t written = write(to, at, length);
        if (written < 0) {
            if (errno == EINTR) continue;
            return false;
        }
        at += written;
        length -= (size_t)written;
    }
    return true;
}

/* Without memory there is still an answer. */
static void out_of_memory(void) {
    static const char text[] = "{\"cniVersion\": \"1.1.0\", \"code\": 100, \"msg\": \"" PROGRAM ": out of memory\"}\n";
    (void)write_all(STDOUT_FILENO, text, sizeof text - 1);
    _exit(1);
}

static void reserve(struct bytes *to, size_t more) {
    if (more > SIZE_MAX / 4 || to->length > SIZE_MAX / 4) out_of_memory();
    if (to->room - to->length >= more) return;
    size_t room = (to->length + more) * 2;
    char *moved = realloc(to->at, room);
    if (moved == NULL) out_of_memory();
    to->at = moved;
    to->room = room;
}

static void add(struct bytes *to, const char *at, size_t length) {
    if (length == 0) return;
    reserve(to, length);
    memcpy(to->at + to->length, at, length);
    to->length += length;
}

static void add_text(struct bytes *to, const char *text) { add(to, text, strlen(text)); }

/* What is written inside the quotes of a JSON string. Bytes that are not ASCII may be no UTF-8, so none pass. */
static void add_quoted(struct bytes *to, struct slice text) {
    for (size_t i = 0; i < text.length; i++) {
        unsigned char one = (unsigned char)text.at[i];
        char escaped[8];
        if (one == '"' || one == '\\') {
            (void)snprintf(escaped, sizeof escaped, "\\%c", one);
            add_text(to, escaped);
        } else if (one < 0x20 || one == 0x7f) {
            (void)snprintf(escaped, sizeof escaped, "\\u%04x", one);
            add_text(to, escaped);
        } else if (one >= 0x80) {
            add_text(to, "\\ufffd");
        } else {
            add(to, (const char *)&one, 1);
        }
    }
}

/* A text made as printf makes one; the caller frees it. */
__attribute__((format(printf, 1, 2))) static char *made(const char *format, ...) {
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0) out_of_memory();
    return text;
}

/* ---- answers ---- */

static int say(int code, const char *at, size_t length) {
    return write_all(STDOUT_FILENO, at, length) ? code : 1; /* nobody reads it */
}

/* Print a CNI error; the exit code. */
static int fail(enum code code, const char *msg, const char *details) {
    struct bytes text = {0};
    char number[16];
    struct slice version = answer_version.at != NULL ? answer_version : sliced(VERSIONS[VERSION_COUNT - 1]);
    (void)snprintf(number, sizeof number, "%d", (int)code);
    add_text(&text, "{\"cniVersion\": \"");
    add_quoted(&text, version);
    add_text(&text, "\", \"code\": ");
    add_text(&text, number);
    add_text(&text, ", \"msg\": \"");
    add_quoted(&text, sliced(msg));
    if (details[0] != '\0') {
        add_text(&text, "\", \"details\": \"");
        add_quoted(&text, sliced(details));
    }
    add_text(&text, "\"}\n");
    int result = say(1, text.at, text.length);
    free(text.at);
    return result;
}

/* ---- JSON: enough to check a text, and to find the top level's values ---- */

struct scan {
    const char *at, *end;
    int depth;
};

static void skip_space(struct scan *scan) {
    while (scan->at < scan->end && strchr(" \t\r\n", *scan->at) != NULL && *scan->at != '\0') scan->at++;
}

static bool take(struct scan *scan, char wanted) {
    if (scan->at >= scan->end || *scan->at != wanted) return false;
    scan->at++;
    return true;
}

static bool take_word(struct scan *scan, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(scan->end - scan->at) < length || memcmp(scan->at, word, length) != 0) return false;
    scan->at += length;
    return true;
}

static bool is_digit(char one) { return one >= '0' && one <= '9'; }

static bool is_hexadecimal(char one) {
    return is_digit(one) || (one >= 'a' && one <= 'f') || (one >= 'A' && one <= 'F');
}

static bool take_string(struct scan *scan, struct slice *inside) {
    if (!take(scan, '"')) return false;
    const char *from = scan->at;
    while (scan->at < scan->end) {
        char one = *scan->at++;
        if (one == '"') {
            *inside = (struct slice){from, (size_t)(scan->at - 1 - from)};
            return true;
        }
        if ((unsigned char)one < 0x20) return false;
        if (one != '\\') continue;
        if (scan->at >= scan->end) return false;
        char escaped = *scan->at++;
        if (escaped == 'u') {
            for (int i = 0; i < 4; i++, scan->at++)
                if (scan->at >= scan->end || !is_hexadecimal(*scan->at)) return false;
        } else if (escaped == '\0' || strchr("\"\\/bfnrt", escaped) == NULL) {
            return false;
        }
    }
    return false;
}

static bool take_digits(struct scan *scan) {
    const char *from = scan->at;
    while (scan->at < scan->end && is_digit(*scan->at)) scan->at++;
    return scan->at > from;
}

static bool take_number(struct scan *scan) {
    (void)take(scan, '-');
    if (!take(scan, '0') && !take_digits(scan)) return false;
    if (take(scan, '.') && !take_digits(scan)) return false;
    if (take(scan, 'e') || take(scan, 'E')) {
        if (!take(scan, '+')) (void)take(scan, '-');
        return take_digits(scan);
    }
    return true;
}

static bool take_value(struct scan *scan, struct slice *whole);

/* Called for each key and its value, or for each element with no key. */
typedef void (*each)(void *context, struct slice key, struct slice value);

static bool take_members(struct scan *scan, bool object, each visit, void *context) {
    const char close = object ? '}' : ']';
    if (!take(scan, object ? '{' : '[') || ++scan->depth > DEEPEST) return false;
    skip_space(scan);
    if (take(scan, close)) {
        scan->depth--;
        return true;
    }
    do {
        struct slice key = {0}, value = {0};
        skip_space(scan);
        if (object) {
            if (!take_string(scan, &key)) return false;
            skip_space(scan);
            if (!take(scan, ':')) return false;
        }
        if (!take_value(scan, &value)) return false;
        if (visit != NULL) visit(context, key, value);
    } while (take(scan, ','));
    scan->depth--;
    return take(scan, close);
}

static bool take_value(struct scan *scan, struct slice *whole) {
    struct slice ignored;
    skip_space(scan);
    const char *from = scan->at;
    bool good = false;
    if (scan->at >= scan->end) return false;
    switch (*scan->at) {
        case '{': good = take_members(scan, true, NULL, NULL); break;
        case '[': good = take_members(scan, false, NULL, NULL); break;
        case '"': good = take_string(scan, &ignored); break;
        case 't': good = take_word(scan, "true"); break;
        case 'f': good = take_word(scan, "false"); break;
        case 'n': good = take_word(scan, "null"); break;
        default: good = take_number(scan);
    }
    *whole = (struct slice){from, (size_t)(scan->at - from)};
    skip_space(scan);
    return good;
}

/* A whole text: an object or a list, and nothing after it. */
static bool members(struct slice text, bool object, each visit, void *context) {
    struct scan scan = {text.at, text.at + text.length, 0};
    skip_space(&scan);
    if (!take_members(&scan, object, visit, context)) return false;
    skip_space(&scan);
    return scan.at == scan.end;
}

/* The inside of a value that is a string without escapes; none otherwise. */
static struct slice plain(struct slice value) {
    if (value.at == NULL || value.length < 2 || value.at[0] != '"') return (struct slice){0};
    struct slice inside = {value.at + 1, value.length - 2};
    return memchr(inside.at, '\\', inside.length) == NULL ? inside : (struct slice){0};
}

/* ---- what every network configuration has ---- */

struct heading {
    bool sound;  /* it is a JSON object */
    int version; /* which of VERSIONS, -1 for another one */
    struct slice written_version, before;
};

/* Whether it was a key of the heading. */
static bool note_heading(struct heading *heading, struct slice key, struct slice value) {
    if (same(key, "cniVersion")) heading->written_version = value;
    else if (same(key, "prevResult")) heading->before = value;
    else return false;
    return true;
}

static void understand_version(struct heading *heading) {
    struct slice version = plain(heading->written_version);
    heading->version = -1;
    for (int i = 0; i < VERSION_COUNT; i++)
        if (same(version, VERSIONS[i])) heading->version = i;
    if (heading->version >= 0) answer_version = sliced(VERSIONS[heading->version]);
}

/* Check that the configuration is JSON in a version that has the command; 0, or the exit code after an error. */
static int check(const struct heading *heading, int since, const char *command) {
    if (!heading->sound) return fail(DECODING, "the network configuration is no JSON object", "");
    if (heading->version < 0) {
        int length = heading->written_version.length > 40 ? 40 : (int)heading->written_version.length;
        char *msg = heading->written_version.at != NULL
                        ? made("cniVersion %.*s is not supported", length, heading->written_version.at)
                        : made("the network configuration has no cniVersion");
        int code = fail(INCOMPATIBLE, msg, "Use one of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0.");
        free(msg);
        return code;
    }
    if (heading->version < since) {
        char *msg = made("cniVersion %s does not have %s", VERSIONS[heading->version], command);
        char *details = made("%s does.", VERSIONS[since]);
        int code = fail(INCOMPATIBLE, msg, details);
        free(msg);
        free(details);
        return code;
    }
    if (heading->before.at != NULL && heading->before.at[0] != '{') return fail(CONFIG, "prevResult is no object", "");
    return 0;
}

/* ---- the node process ---- */

/* Connect, and say all; the connection, or -1 with errno. */
static int ask(const char *path, struct slice config) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    struct bytes request = {0};
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control = {0};
    int problem = 0, namespace = -1, connection = -1;

    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0) return -1;
    if (setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
        setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 ||
        connect(connection, (const struct sockaddr *)&address, sizeof address) != 0)
        goto failed;

    for (char **variable = environ; *variable != NULL; variable++)
        if (strncmp(*variable, "CNI_", 4) == 0) add(&request, *variable, strlen(*variable) + 1);
    add(&request, "", 1);
    add(&request, config.at, config.length);

    struct iovec part = {request.at, request.length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    const char *path_of_namespace = getenv("CNI_NETNS");
    if (path_of_namespace != NULL) namespace = open(path_of_namespace, O_RDONLY | O_CLOEXEC);
    if (namespace >= 0) { /* of many pods nothing has to be done in it */
        message.msg_control = control.room;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof namespace);
        memcpy(CMSG_DATA(header), &namespace, sizeof namespace);
    }
    for (size_t sent = 0; sent < request.length;) {
        part = (struct iovec){request.at + sent, request.length - sent};
        ssize_t now = sendmsg(connection, &message, MSG_NOSIGNAL);
        if (now < 0) {
            if (errno == EINTR) continue;
            goto failed;
        }
        sent += (size_t)now;
        message.msg_control = NULL; /* once is enough */
        message.msg_controllen = 0;
    }
    if (shutdown(connection, SHUT_WR) != 0) goto failed;
    goto done;
failed:
    problem = errno;
    (void)close(connection);
    connection = -1;
done:
    if (namespace >= 0) (void)close(namespace);
    free(request.at);
    errno = problem;
    return connection;
}

/* All there is to read, up to MOST bytes; false with errno where that fails, or with EFBIG where there is more. */
static bool read_all(int from, struct bytes *to) {
    for (;;) {
        reserve(to, 1 << 16);
        ssize_t now = read(from, to->at + to->length, 1 << 16);
        if (now == 0) return true;
        if (now < 0) {
            if (errno == EINTR) continue;
            return false;
        }
        to->length += (size_t)now;
        if (to->length > MOST) {
            errno = EFBIG;
            return false;
        }
    }
}

/* Where the exit code of an answer ends, or NULL where the answer is cut off. */
static const char *end_of_code(const struct bytes *answer, int *code) {
    size_t i = 0;
    *code = 0;
    for (; i < answer->length && i < 3 && is_digit(answer->at[i]); i++) *code = *code * 10 + (answer->at[i] - '0');
    return i > 0 && i < answer->length && answer->at[i] == '\n' ? answer->at + i : NULL;
}

/* ---- the command ---- */

static int missing(const char *command) {
    static const char *const needed[] = {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"};
    struct bytes names = {0};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        const char *value = getenv(needed[i]);
        if (value != NULL && value[0] != '\0') continue;
        if (names.length > 0) add_text(&names, " and ");
        add_text(&names, needed[i]);
    }
    if (names.length == 0) return 0;
    char *msg = made("%s needs %.*s", command, (int)names.length, names.at);
    int code = fail(ENVIRONMENT, msg, "A container runtime sets them.");
    free(msg);
    free(names.at);
    return code;
}

static int versions(void) {
    struct bytes text = {0};
    add_text(&text, "{\"cniVersion\": \"");
    add_quoted(&text, answer_version.at != NULL ? answer_version : sliced(VERSIONS[VERSION_COUNT - 1]));
    add_text(&text, "\", \"supportedVersions\": [");
    for (int i = 0; i < VERSION_COUNT; i++) {
        add_text(&text, i > 0 ? ", \"" : "\"");
        add_text(&text, VERSIONS[i]);
        add_text(&text, "\"");
    }
    add_text(&text, "]}\n");
    int code = say(0, text.at, text.length);
    free(text.at);
    return code;
}

#endif
