/* Answers that come in pieces: to whom, until when, and how fast. */
#include "tests/unit/server/functions/runtime_fixture.h"

static bool add_piece(struct fn_invocation *in, struct bytes type, struct bytes piece)
{
    struct call *c = in->user;
    size_t len = strlen(c->pieces);
    (void)type;
    copy(c->pieces + len, sizeof(c->pieces) - len, piece);
    c->piece_count++;
    return true;
}

START_TEST(test_pieces)
{
    struct call c;
    put_c("pieces");
    prepare(&c, "pieces", "\"stream\"");
    c.in.piece = add_piece;
    functions_invoke(f, &c.in);
    end(&c);
    ck_assert_int_eq(c.end, FN_OK);
    ck_assert_str_eq(c.pieces, "streamed!");
    ck_assert_uint_gt(c.piece_count, 1);
    ck_assert_uint_eq(c.payload_len, 0);
}
END_TEST

/* A run that ends on another connection than the one it streams on is no longer that one's. */
START_TEST(test_pieces_of_no_run)
{
    struct call c;
    put_c("both");
    for (int i = 0; i < 3; i++) {
        prepare(&c, "both", "\"both\"");
        c.in.piece = add_piece;
        functions_invoke(f, &c.in);
        end(&c);
        ck_assert_int_eq(c.end, FN_ERROR);
        expect(c.payload, "\"errorType\":\"Mine\"");
        ck_assert_ptr_null(strstr(c.pieces, "after"));
    }
}
END_TEST

struct slow {
    struct call call; /* first */
    pthread_mutex_t lock;
    pthread_cond_t held;
    uint64_t got;  /* bytes */
    unsigned owed; /* functions_more(): one for each false */
};

static bool hold_piece(struct fn_invocation *in, struct bytes type, struct bytes piece)
{
    struct slow *s = in->user;
    (void)type;
    pthread_mutex_lock(&s->lock);
    bool hold = s->got / 1000000 != (s->got + piece.len) / 1000000;
    s->got += piece.len;
    s->owed += hold;
    pthread_cond_signal(&s->held);
    pthread_mutex_unlock(&s->lock);
    return !hold;
}

/* Each false holds the process until functions_more(), even when that comes first. */
START_TEST(test_held_pieces)
{
    const uint64_t all = 256 << 16;
    struct slow s = { .got = 0 };
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.held, NULL);
    put_c("much");
    prepare(&s.call, "much", "\"much\"");
    s.call.in.piece = hold_piece;
    functions_invoke(f, &s.call.in);
    pthread_mutex_lock(&s.lock);
    for (uint64_t holds = 0; holds < all / 1000000; holds++) {
        while (!s.owed)
            pthread_cond_wait(&s.held, &s.lock);
        s.owed--;
        ck_assert_uint_lt(s.got, (holds + 1) * 1000000 + WIRE_HEAD_MAX);
        functions_more(&s.call.in);
    }
    pthread_mutex_unlock(&s.lock);
    end(&s.call);
    ck_assert_int_eq(s.call.end, FN_OK);
    ck_assert_uint_eq(s.got, all);
    pthread_cond_destroy(&s.held);
    pthread_mutex_destroy(&s.lock);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pieces");
    TCase *t = tcase_create("streams");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_pieces);
    tcase_add_test(t, test_pieces_of_no_run);
    tcase_add_test(t, test_held_pieces);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv)
{
    return run_runtime_suite(argc, argv, suite);
}
