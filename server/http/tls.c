/* Certificates, through GnuTLS, which is MHD's TLS.
 *
 * A set of certificate and key is counted: one reference by the store (the current set), one by
 * each connection whose handshake used it. Reloading exchanges the current set; the old one
 * goes with its last connection (MHD ends the session before it tells us so).
 */
#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/http/internal.h"

#define CHAIN_MAX 16U

struct tls_certs {
    _Atomic unsigned refs;
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned chain_len;
    gnutls_privkey_t key;
};

struct tls_store {
    char *cert_file, *key_file;
    pthread_mutex_t lock; /* current */
    struct tls_certs *current;
};

static _Thread_local char reason_text[320];

void tls_certs_unref(struct tls_certs *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    for (unsigned i = 0; i < c->chain_len; i++)
        gnutls_pcert_deinit(&c->chain[i]);
    if (c->key)
        gnutls_privkey_deinit(c->key);
    free(c);
}

static int load_chain(struct tls_certs *c, const char *file)
{
    gnutls_datum_t pem = { 0 };
    int bad = gnutls_load_file(file, &pem);
    if (bad < 0)
        return bad;
    unsigned len = CHAIN_MAX;
    bad = gnutls_pcert_list_import_x509_raw(c->chain, &len, &pem, GNUTLS_X509_FMT_PEM, 0);
    gnutls_free(pem.data);
    if (bad >= 0)
        c->chain_len = len;
    return bad;
}

static int load_key(struct tls_certs *c, const char *file)
{
    gnutls_datum_t pem = { 0 };
    int bad = gnutls_load_file(file, &pem);
    if (bad >= 0)
        bad = gnutls_privkey_init(&c->key);
    if (bad >= 0)
        bad = gnutls_privkey_import_x509_raw(c->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (pem.data)
        gnutls_memset(pem.data, 0, pem.size);
    gnutls_free(pem.data);
    return bad;
}

/* A key of another certificate would fail in every handshake: refuse it at once. */
static int check_pair(const struct tls_certs *c)
{
    static const char text[] = "kist";
    const gnutls_datum_t data = { (unsigned char *)(uintptr_t)text, sizeof(text) };
    gnutls_datum_t signature = { 0 };
    int algorithm = gnutls_pubkey_get_preferred_hash_algorithm(
        c->chain[0].pubkey, &(gnutls_digest_algorithm_t){ 0 }, NULL);
    int bad = algorithm < 0
                  ? algorithm
                  : gnutls_privkey_sign_data(c->key, GNUTLS_DIG_SHA256, 0, &data, &signature);
    if (bad < 0)
        return bad;
    gnutls_sign_algorithm_t sign = gnutls_pk_to_sign(
        (gnutls_pk_algorithm_t)gnutls_privkey_get_pk_algorithm(c->key, NULL), GNUTLS_DIG_SHA256);
    bad = gnutls_pubkey_verify_data2(c->chain[0].pubkey, sign, 0, &data, &signature);
    gnutls_free(signature.data);
    return bad;
}

static struct tls_certs *load(const struct tls_store *s)
{
    struct tls_certs *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    atomic_store(&c->refs, 1);
    const char *file = s->cert_file;
    int bad = load_chain(c, file);
    if (bad >= 0) {
        file = s->key_file;
        bad = load_key(c, file);
    }
    if (bad >= 0)
        bad = check_pair(c);
    if (bad >= 0)
        return c;
    snprintf(reason_text, sizeof(reason_text), "cannot use %s: %s", file,
             bad == GNUTLS_E_FILE_ERROR             ? "cannot read the file"
             : bad == GNUTLS_E_PK_SIG_VERIFY_FAILED ? "the key is of another certificate"
                                                    : gnutls_strerror(bad));
    tls_certs_unref(c);
    return NULL;
}

enum kist_err tls_store_open(const char *cert_file, const char *key_file, struct tls_store **out,
                             const char **reason)
{
    struct tls_store *s = calloc(1, sizeof(*s));
    *reason = "out of memory";
    if (!s)
        return KIST_E_NOMEM;
    pthread_mutex_init(&s->lock, NULL);
    s->cert_file = strdup(cert_file);
    s->key_file = strdup(key_file);
    if (!s->cert_file || !s->key_file) {
        tls_store_close(s);
        return KIST_E_NOMEM;
    }
    s->current = load(s);
    if (!s->current) {
        tls_store_close(s);
        *reason = reason_text;
        return KIST_E_INVALID;
    }
    *out = s;
    return KIST_OK;
}

void tls_store_close(struct tls_store *s)
{
    if (!s)
        return;
    tls_certs_unref(s->current);
    pthread_mutex_destroy(&s->lock);
    free(s->cert_file);
    free(s->key_file);
    free(s);
}

enum kist_err tls_store_reload(struct tls_store *s)
{
    struct tls_certs *fresh = load(s);
    if (!fresh)
        return KIST_E_INVALID;
    pthread_mutex_lock(&s->lock);
    struct tls_certs *old = s->current;
    s->current = fresh;
    pthread_mutex_unlock(&s->lock);
    tls_certs_unref(old);
    return KIST_OK;
}

static struct tls_certs *current_ref(struct tls_store *s)
{
    pthread_mutex_lock(&s->lock);
    struct tls_certs *c = s->current;
    atomic_fetch_add(&c->refs, 1);
    pthread_mutex_unlock(&s->lock);
    return c;
}

/* MHD has set the session's pointer to its connection. */
static int give_certs(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                      gnutls_pcert_st **certs, unsigned *certs_len, gnutls_ocsp_data_st **ocsp,
                      unsigned *ocsp_len, gnutls_privkey_t *key, unsigned *flags)
{
    (void)info;
    struct MHD_Connection *mhd = gnutls_session_get_ptr(session);
    const union MHD_ConnectionInfo *context =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct conn *conn = context ? context->socket_context : NULL;
    if (!conn)
        return -1;
    if (!conn->certs)
        conn->certs = current_ref(conn->server->tls_store);
    *certs = conn->certs->chain;
    *certs_len = conn->certs->chain_len;
    *key = conn->certs->key;
    *ocsp = NULL;
    *ocsp_len = 0;
    *flags = 0;
    return 0;
}

void *tls_cert_callback(void)
{
    gnutls_certificate_retrieve_function3 *callback = give_certs;
    void *out;
    memcpy(&out, &callback, sizeof(out));
    return out;
}

const char *tls_priorities(void)
{
    return "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE";
}

const char *tls_version(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (!info)
        return NULL;
    gnutls_protocol_t version = gnutls_protocol_get_version(info->tls_session);
    return version == GNUTLS_TLS1_3 ? "1.3" : version == GNUTLS_TLS1_2 ? "1.2" : NULL;
}

ptrdiff_t tls_write(struct MHD_Connection *mhd, const void *data, size_t len)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (!info)
        return -1;
    ssize_t n = gnutls_record_send((gnutls_session_t)info->tls_session, data, len);
    if (n == GNUTLS_E_INTERRUPTED)
        errno = EINTR;
    else if (n < 0)
        errno = EIO;
    return n < 0 ? -1 : n;
}
