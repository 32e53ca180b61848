#include "gateway/http/answer.h"

#include <stdio.h>

static const char *reason(int status) {
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "Status"; /* the phrase has no meaning, but a place */
}

/* Days since 1970-01-01 to a date of the Gregorian calendar: years are counted from March, so that the leap day is the
 * last of its year. */
static void civil_date(int64_t days, int *year, int *month, int *day) {
    int64_t since = days + 719468; /* days since 0000-03-01 */
    int64_t era = since / 146097, of_era = since % 146097;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t from_march = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * from_march + 2) / 5 + 1);
    *month = (int)(from_march < 10 ? from_march + 3 : from_march - 9);
    *year = (int)(year_of_era + era * 400 + (*month <= 2));
}

void gw_http_date(int64_t unix_s, char text[GW_HTTP_DATE_MAX]) {
    static const char weekdays[] = "ThuFriSatSunMonTueWed"; /* 1970-01-01 was a Thursday */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t days = unix_s / 86400;
    unsigned second = (unsigned)(unix_s % 86400);
    int year, month, day;
    civil_date(days, &year, &month, &day);
    snprintf(text, GW_HTTP_DATE_MAX, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", weekdays + 3 * (days % 7),
             (unsigned)day % 100, months + 3 * (month - 1), (unsigned)year % 10000, second / 3600, second / 60 % 60,
             second % 60);
}

static const char *date_now(struct gw_http *door) {
    int64_t now_s = st_now_wall_ms(door->gateway->loop) / 1000;
    if (now_s != door->date_s) {
        door->date_s = now_s;
        gw_http_date(now_s, door->date);
    }
    return door->date;
}

void gw_http_answer(struct gw_http *door, const struct gw_http_answer *answer, struct kp_chain *out) {
    struct rest_response *response = answer->response;
    char line[256];
    int len = snprintf(line, sizeof line, "HTTP/1.1 %d %s\r\nDate: %s\r\n", response->status,
                       reason(response->status), date_now(door));
    kp_chain_copy(out, line, (size_t)len);
    if (!answer->streaming) {
        len = snprintf(line, sizeof line, "Content-Length: %zu\r\n", response->body.bytes);
        kp_chain_copy(out, line, (size_t)len);
    } else if (!answer->version_1_0) {
        kp_chain_copy(out, "Transfer-Encoding: chunked\r\n", 28);
    }
    if (response->content_type != NULL) {
        len = snprintf(line, sizeof line, "Content-Type: %s\r\n", response->content_type);
        kp_chain_copy(out, line, (size_t)len);
    }
    for (size_t i = 0; i < response->header_count; i++) {
        const struct rest_answer_header *header = &response->headers[i];
        len = snprintf(line, sizeof line, "%.64s: %s\r\n", header->name, header->value);
        kp_chain_copy(out, line, (size_t)len);
    }
    if (!answer->keep_alive) {
        kp_chain_copy(out, "Connection: close\r\n", 19);
    } else if (answer->version_1_0) {
        kp_chain_copy(out, "Connection: keep-alive\r\n", 24);
    }
    kp_chain_copy(out, "\r\n", 2);
    if (!answer->head_only) {
        kp_chain_move(out, &response->body);
    }
}

void gw_http_chunk(struct kp_chain *data, struct kp_chain *out) {
    if (data->bytes > 0) {
        char size[24];
        int len = snprintf(size, sizeof size, "%zx\r\n", data->bytes);
        kp_chain_copy(out, size, (size_t)len);
        kp_chain_move(out, data);
        kp_chain_copy(out, "\r\n", 2);
    }
}

void gw_http_last_chunk(struct kp_chain *out) {
    kp_chain_copy(out, "0\r\n\r\n", 5);
}
