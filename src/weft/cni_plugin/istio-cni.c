/* The CNI plugin `istio-cni` for hosts without Python: one static program that needs nothing beside it.
 *
 * It does what istio_cni.py does, whose docstring has the protocol, but for one thing: when the node process does
 * not answer it cannot ask the API server, so it lets through only what the network configuration excludes.
 */
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
#ifndef ANSWER_SECONDS
#define ANSWER_SECONDS 75 /* the node process waits 30 s for a pod to be told of, and then it has rules to write */
#endif
#define DEEPEST 200 /* a value within a value within… */
#define RUN_DIR "/var/run/istio-cni"
#define AGENT "istio-cni-node"

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
    static const char text[] = "{\"cniVersion\": \"1.1.0\", \"code\": 100, \"msg\": \"istio-cni: out of memory\"}\n";
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

/* ---- the network configuration ---- */

struct config {
    bool sound; /* it is a JSON object */
    int version; /* which of VERSIONS, -1 for another one */
    struct slice written_version, run_dir, before, excluded, owner;
};

static void note(void *context, struct slice key, struct slice value) {
    struct config *config = context;
    if (same(value, "null")) value = (struct slice){0};
    if (same(key, "cniVersion")) config->written_version = value;
    else if (same(key, "cni_agent_run_dir")) config->run_dir = value;
    else if (same(key, "prevResult")) config->before = value;
    else if (same(key, "exclude_namespaces")) config->excluded = value;
    else if (same(key, "pod_namespace")) config->owner = value;
}

static struct config understand(struct slice text) {
    struct config config = {.version = -1};
    config.sound = members(text, true, note, &config);
    struct slice version = plain(config.written_version);
    for (int i = 0; i < VERSION_COUNT; i++)
        if (same(version, VERSIONS[i])) config.version = i;
    if (config.version >= 0) answer_version = sliced(VERSIONS[config.version]);
    return config;
}

/* Check that the configuration is JSON in a version that has the command; 0, or the exit code after an error. */
static int check(const struct config *config, int since, const char *command) {
    if (!config->sound) return fail(DECODING, "the network configuration is no JSON object", "");
    if (config->version < 0) {
        int length = config->written_version.length > 40 ? 40 : (int)config->written_version.length;
        char *msg = config->written_version.at != NULL
                        ? made("cniVersion %.*s is not supported", length, config->written_version.at)
                        : made("the network configuration has no cniVersion");
        int code = fail(INCOMPATIBLE, msg, "Use one of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0.");
        free(msg);
        return code;
    }
    if (config->version < since) {
        char *msg = made("cniVersion %s does not have %s", VERSIONS[config->version], command);
        char *details = made("%s does.", VERSIONS[since]);
        int code = fail(INCOMPATIBLE, msg, details);
        free(msg);
        free(details);
        return code;
    }
    if (config->before.at != NULL && config->before.at[0] != '{') return fail(CONFIG, "prevResult is no object", "");
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

/* ---- alone ---- */

/* Tell the node's log and, where it listens, the node process's. */
static void tell(const char *folder, const char *level, const char *text) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char *line = made("%s %s", level, text);
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/log.sock", folder);
    int to = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)fprintf(stderr, "istio-cni: %s\n", line);
    /* best effort: the answer says the same */
    if (to >= 0 && length > 0 && (size_t)length < sizeof address.sun_path)
        (void)sendto(to, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&address,
                     sizeof address);
    if (to >= 0) (void)close(to);
    free(line);
}

struct pod {
    struct slice namespace, name;
};

/* Which pod CNI_ARGS names; false where they are no NAME=VALUE pairs. */
static bool pod_of(const char *arguments, struct pod *pod) {
    while (*arguments != '\0') {
        size_t length = strcspn(arguments, ";");
        const char *equals = memchr(arguments, '=', length);
        if (length > 0 && equals == NULL) return false;
        if (length > 0) {
            struct slice name = {arguments, (size_t)(equals - arguments)};
            struct slice value = {equals + 1, length - name.length - 1};
            if (same(name, "K8S_POD_NAMESPACE")) pod->namespace = value;
            if (same(name, "K8S_POD_NAME")) pod->name = value;
        }
        arguments += length + (arguments[length] == ';');
    }
    return true;
}

struct search {
    struct slice wanted;
    bool found;
};

static void compare(void *context, struct slice key, struct slice value) {
    struct search *search = context;
    struct slice one = plain(value);
    (void)key;
    if (one.at != NULL && one.length == search->wanted.length && memcmp(one.at, search->wanted.at, one.length) == 0)
        search->found = true;
}

/* Why the configuration alone says that a pod is not the mesh's, or NULL. */
static const char *outside(const struct config *config, const struct pod *pod, struct slice owner) {
    struct search search = {pod->namespace, false};
    if (pod->namespace.length == 0 || pod->name.length == 0) return "it is no pod of Kubernetes";
    if (config->excluded.at != NULL && !members(config->excluded, false, compare, &search)) return NULL;
    if (search.found) return "its namespace is excluded";
    if (owner.length == pod->namespace.length && memcmp(owner.at, pod->namespace.at, owner.length) == 0 &&
        pod->name.length > strlen(AGENT "-") && memcmp(pod->name.at, AGENT "-", strlen(AGENT "-")) == 0)
        return "it is the node process itself";
    return NULL;
}

static int result(const struct config *config) {
    if (config->before.at == NULL) {
        char *empty = made("{\"cniVersion\": \"%s\"}\n", VERSIONS[config->version]);
        int code = say(0, empty, strlen(empty));
        free(empty);
        return code;
    }
    return say(0, config->before.at, config->before.length) || say(0, "\n", 1);
}

/* ADD without the node process: let through what is not the mesh's, and nothing else. */
static int attach(const struct config *config, const char *folder, const char *down, const char *look,
                  struct slice owner) {
    const char *arguments = getenv("CNI_ARGS");
    struct pod pod = {{"", 0}, {"", 0}};
    if (!pod_of(arguments != NULL ? arguments : "", &pod))
        return fail(ENVIRONMENT, "CNI_ARGS are no NAME=VALUE pairs", "Join them by semicolons.");
    if (config->excluded.at != NULL && config->excluded.at[0] != '[')
        return fail(CONFIG, "exclude_namespaces is no list", "Write [\"kube-system\"].");
    const char *through = outside(config, &pod, owner);
    int code = 0;
    char *said = made("pod %.*s/%.*s", (int)pod.namespace.length, pod.namespace.at, (int)pod.name.length, pod.name.at);
    if (through == NULL) {
        char *msg = made("%s does not start: %s, and nobody can be asked whether it is in the mesh (this program "
                         "cannot ask the API server)",
                         said, down);
        char *details = made("It is tried again until the node process is back. %s.", look);
        tell(folder, "error", msg);
        code = fail(LATER, msg, details);
        free(msg);
        free(details);
    } else {
        char *line = made("%s starts without us: %s; %s", said, through, down);
        tell(folder, "warn", line);
        free(line);
        code = result(config);
    }
    free(said);
    return code;
}

static int alone(const char *command, int since, const struct config *config, const char *folder, const char *why) {
    int code = check(config, since, command);
    if (code != 0) return code;
    struct slice owner = plain(config->owner);
    if (owner.at == NULL || owner.length == 0 || owner.length > 253) owner = sliced("istio-system");
    char *down = made("the node process of istio-cni does not answer (%s)", why);
    char *look = made("See `kubectl get pods -n %.*s -l k8s-app=%s -o wide`", (int)owner.length, owner.at, AGENT);
    if (strcmp(command, "ADD") == 0) {
        code = attach(config, folder, down, look, owner);
    } else {
        bool status = strcmp(command, "STATUS") == 0;
        char *msg = made("%s: %s", status ? "pods cannot be added" : "rules cannot be looked at", down);
        char *details = made("%s.", look);
        code = fail(status ? UNAVAILABLE : LATER, msg, details);
        free(msg);
        free(details);
    }
    free(down);
    free(look);
    return code;
}

/* Have the node process answer; alone where it does not. */
static int carry(const char *command, int since, const struct config *config, struct slice text) {
    struct slice folder = plain(config->run_dir);
    if (folder.at == NULL || folder.length == 0) folder = sliced(RUN_DIR);
    if (folder.at[0] != '/' || folder.length > 4096)
        return fail(CONFIG, "cni_agent_run_dir is no path", "Write an absolute one, as /var/run/istio-cni.");
    char *directory = made("%.*s", (int)folder.length, folder.at);
    char *path = made("%s/pluginevent.sock", directory);
    struct bytes answer = {0};
    char *why = NULL;
    int code = 0;
    int connection = ask(path, text);
    if (connection < 0 || !read_all(connection, &answer)) {
        why = errno == EAGAIN ? made("%s: no answer in %d s", path, ANSWER_SECONDS)
                              : made("%s: %s", path, strerror(errno));
    } else {
        const char *end = end_of_code(&answer, &code);
        if (end != NULL) code = say(code, end + 1, answer.length - (size_t)(end + 1 - answer.at));
        else why = made("it has ended before it answered");
    }
    if (connection >= 0) (void)close(connection);
    if (why != NULL) code = alone(command, since, config, directory, why);
    free(answer.at);
    free(directory);
    free(path);
    free(why);
    return code;
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

static int answer(const char *command, struct slice text) {
    struct config config = understand(text);
    int since = V_0_3_0;
    if (strcmp(command, "VERSION") == 0) return versions();
    if (strcmp(command, "CHECK") == 0) since = V_0_4_0;
    else if (strcmp(command, "GC") == 0 || strcmp(command, "STATUS") == 0) since = V_1_1_0;
    else if (strcmp(command, "ADD") != 0) {
        char *msg = made("CNI_COMMAND is '%.40s'", command);
        int code = fail(ENVIRONMENT, msg, "A container runtime sets it to ADD, DEL, CHECK, GC, STATUS or VERSION.");
        free(msg);
        return code;
    }
    if (strcmp(command, "GC") == 0) return check(&config, since, command); /* nothing is kept, nothing collected */
    if (strcmp(command, "STATUS") != 0) {
        int code = missing(command);
        if (code != 0) return code;
    }
    return carry(command, since, &config, text);
}

int main(void) {
    const char *command = getenv("CNI_COMMAND");
    struct bytes text = {0};
    int code = 0;
    if (command == NULL) command = "";
    if (strcmp(command, "DEL") == 0) return 0; /* a pod's rules go with its namespace */
    if (!read_all(STDIN_FILENO, &text)) {
        const int problem = errno;
        char *msg = problem == EFBIG ? made("the network configuration is longer than %zu bytes", MOST)
                                     : made("standard input cannot be read: %s", strerror(problem));
        code = fail(problem == EFBIG ? CONFIG : OURS, msg, "");
        free(msg);
    } else {
        code = answer(command, (struct slice){text.at, text.length});
    }
    free(text.at);
    return code;
}
