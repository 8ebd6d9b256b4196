/* What a configuration document may hold: tables instead of a schema language. */
#include "server/s3/xml_shape.h"

static bool listed(const char *values, struct bytes text)
{
    while (*values) {
        size_t len = strcspn(values, "|");
        if (bytes_equal(bytes_of(values, len), text))
            return true;
        values += len + (values[len] == '|');
    }
    return false;
}

static bool leaf_fits(const struct s3_xml_node *node, const struct s3_shape *shape)
{
    uint64_t number;
    int64_t ms;
    if (node->child)
        return false;
    switch (shape->kind) {
    case S3_SHAPE_TEXT:
        return node->text.len > 0;
    case S3_SHAPE_ANY:
        return true;
    case S3_SHAPE_NUMBER:
        return bytes_to_u64(node->text, INT32_MAX, &number) == KIST_OK;
    case S3_SHAPE_SIZE:
        return bytes_to_u64(node->text, INT64_MAX, &number) == KIST_OK;
    case S3_SHAPE_DATE:
        return time_parse_iso(node->text, &ms) == KIST_OK;
    case S3_SHAPE_BOOL:
        return listed("true|false|TRUE|FALSE|True|False", node->text);
    case S3_SHAPE_ENUM:
        return listed(shape->values, node->text);
    case S3_SHAPE_TREE:
        break;
    }
    return false;
}

static const struct s3_shape *shape_of(const struct s3_shape *shapes, const char *name)
{
    while (shapes->name && strcmp(shapes->name, name) != 0)
        shapes++;
    return shapes->name ? shapes : NULL;
}

bool s3_shape_fits(const struct s3_xml_node *node, const struct s3_shape *children)
{
    for (const struct s3_xml_node *n = node->child; n; n = n->next) {
        const struct s3_shape *shape = shape_of(children, n->name);
        if (!shape)
            return false;
        if (shape->kind == S3_SHAPE_TREE ? !s3_shape_fits(n, shape->children)
                                         : !leaf_fits(n, shape))
            return false;
    }
    for (const struct s3_shape *shape = children; shape->name; shape++) {
        unsigned count = 0;
        for (const struct s3_xml_node *n = node->child; n; n = n->next)
            count += strcmp(n->name, shape->name) == 0;
        if (count < shape->min || count > shape->max)
            return false;
    }
    return node->child || node->text.len == 0;
}
