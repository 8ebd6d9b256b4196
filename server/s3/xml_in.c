/* XML from outside: libxml2's push parser with a SAX handler of ours.
 *
 * No DOM and no DTD: a document type declaration, an entity that is not one of XML's five, a
 * depth over the limit or any error ends the parse. Nothing is ever fetched. Namespaces are
 * ignored, as S3 does: the local name counts.
 */
#include <libxml/parser.h>

#include "server/s3/internal.h"

#define DEPTH_MAX 16
#define NODES_MAX 200000

struct parse {
    struct arena *arena;
    struct s3_xml_node *stack[DEPTH_MAX];
    struct s3_xml_node **tails[DEPTH_MAX];
    struct buf text;
    size_t depth, nodes;
    struct s3_xml_node *root;
    bool failed;
    xmlParserCtxtPtr context;
};

static void stop(struct parse *p)
{
    p->failed = true;
    xmlStopParser(p->context);
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                     int n_namespaces, const xmlChar **namespaces, int n_attributes,
                     int n_defaulted, const xmlChar **attributes)
{
    struct parse *p = ctx;
    (void)prefix, (void)uri, (void)n_namespaces, (void)namespaces;
    (void)n_attributes, (void)n_defaulted, (void)attributes;
    if (p->failed)
        return;
    struct s3_xml_node *node = arena_zalloc(p->arena, sizeof(*node));
    char *copy = arena_strdup(p->arena, (const char *)name);
    if (!node || !copy || p->depth == DEPTH_MAX || ++p->nodes > NODES_MAX) {
        stop(p);
        return;
    }
    node->name = copy;
    if (p->depth == 0) {
        p->root = node;
    } else {
        *p->tails[p->depth - 1] = node;
        p->tails[p->depth - 1] = &node->next;
    }
    p->stack[p->depth] = node;
    p->tails[p->depth++] = &node->child;
    buf_clear(&p->text);
}

/* Only leaves have text that matters; blanks between elements are dropped with it. */
static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    struct parse *p = ctx;
    (void)name, (void)prefix, (void)uri;
    if (p->failed || p->depth == 0)
        return;
    struct s3_xml_node *node = p->stack[--p->depth];
    if (!node->child) {
        node->text = arena_copy(p->arena, buf_bytes(&p->text));
        if (!node->text.ptr)
            stop(p);
    }
    buf_clear(&p->text);
}

static void on_text(void *ctx, const xmlChar *text, int len)
{
    struct parse *p = ctx;
    if (!p->failed && buf_append(&p->text, text, (size_t)len) != KIST_OK)
        stop(p);
}

static void on_doctype(void *ctx, const xmlChar *name, const xmlChar *external,
                       const xmlChar *system)
{
    (void)name, (void)external, (void)system;
    stop(ctx);
}

static xmlEntityPtr on_entity(void *ctx, const xmlChar *name)
{
    xmlEntityPtr predefined = xmlGetPredefinedEntity(name);
    if (!predefined)
        stop(ctx);
    return predefined;
}

static void on_error(void *ctx, const char *message, ...)
{
    struct parse *p = ctx;
    (void)message;
    p->failed = true;
}

static void on_structured_error(void *ctx, xmlErrorPtr error)
{
    struct parse *p = ctx;
    if (error->level >= XML_ERR_ERROR)
        p->failed = true;
}

enum kist_err s3_xml_parse(struct bytes in, struct arena *arena, struct s3_xml_node **root)
{
    xmlSAXHandler sax = { .startElementNs = on_start,
                          .endElementNs = on_end,
                          .characters = on_text,
                          .cdataBlock = on_text,
                          .ignorableWhitespace = on_text,
                          .internalSubset = on_doctype,
                          .getEntity = on_entity,
                          .error = on_error,
                          .fatalError = on_error,
                          .serror = on_structured_error,
                          .initialized = XML_SAX2_MAGIC };
    struct parse p = { .arena = arena };
    if (in.len == 0 || in.len > INT32_MAX || memchr(in.ptr, 0, in.len))
        return KIST_E_INVALID;
    buf_init(&p.text, 64 << 10);
    p.context = xmlCreatePushParserCtxt(&sax, &p, NULL, 0, NULL);
    if (!p.context)
        return KIST_E_NOMEM;
    (void)xmlCtxtUseOptions(p.context, XML_PARSE_NONET);
    int rc = xmlParseChunk(p.context, (const char *)in.ptr, (int)in.len, 1);
    bool ok = rc == 0 && p.context->wellFormed && !p.failed && p.root && p.depth == 0;
    if (p.context->myDoc)
        xmlFreeDoc(p.context->myDoc);
    xmlFreeParserCtxt(p.context);
    buf_release(&p.text);
    if (!ok)
        return KIST_E_INVALID;
    *root = p.root;
    return KIST_OK;
}

const struct s3_xml_node *s3_xml_child(const struct s3_xml_node *node, const char *name)
{
    const struct s3_xml_node *child = node ? node->child : NULL;
    while (child && strcmp(child->name, name) != 0)
        child = child->next;
    return child;
}

struct bytes s3_xml_child_text(const struct s3_xml_node *node, const char *name)
{
    const struct s3_xml_node *child = s3_xml_child(node, name);
    return child ? child->text : BYTES_EMPTY;
}
