/* The condition keys that there are. Many can have no value here (no VPCs, no organizations, no
 * access points): a condition on one of those finds it absent. */
#include "auth/policy_internal.h"

/* In any case; one that ends in '/' is followed by a tag's key. */
static const char *const s3_keys[] = {
    "AccessGrantScope",
    "AccessGrantsInstanceArn",
    "AccessGrantsLocationScope",
    "AccessPointNetworkOrigin",
    "AccessPointTag/",
    "BucketTag/",
    "DataAccessPointAccount",
    "DataAccessPointArn",
    "ExistingJobOperation",
    "ExistingJobPriority",
    "ExistingObjectTag/",
    "ExistingObjectTagKeys",
    "InventoryAccessibleOptionalFields",
    "JobSuspendedCause",
    "LocationConstraint",
    "ObjectCreationOperation",
    "RequestJobOperation",
    "RequestJobPriority",
    "RequestObjectTag/",
    "RequestObjectTagKeys",
    "ResourceAccount",
    "TlsVersion",
    "VersionId",
    "authType",
    "delimiter",
    "destinationRegion",
    "if-match",
    "if-none-match",
    "isReplicationPauseRequest",
    "max-keys",
    "object-lock-legal-hold",
    "object-lock-mode",
    "object-lock-remaining-retention-days",
    "object-lock-retain-until-date",
    "prefix",
    "signatureAge",
    "signatureversion",
    "x-amz-acl",
    "x-amz-bucket-namespace",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-metadata-directive",
    "x-amz-object-ownership",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
};

static const char *const aws_keys[] = {
    "AssumedRoot",
    "CalledVia",
    "CalledViaAWSMCP",
    "CalledViaFirst",
    "CalledViaLast",
    "ChatbotSourceArn",
    "CurrentTime",
    "Ec2InstanceSourcePrivateIPv4",
    "Ec2InstanceSourceVpc",
    "EpochTime",
    "FederatedProvider",
    "IsMcpServiceAction",
    "MultiFactorAuthAge",
    "MultiFactorAuthPresent",
    "PrincipalAccount",
    "PrincipalArn",
    "PrincipalIsAWSService",
    "PrincipalOrgID",
    "PrincipalOrgPaths",
    "PrincipalServiceName",
    "PrincipalServiceNamesList",
    "PrincipalTag/",
    "PrincipalType",
    "Referer",
    "RequestTag/",
    "RequestedRegion",
    "ResourceAccount",
    "ResourceOrgID",
    "ResourceOrgPaths",
    "ResourceTag/",
    "SecureTransport",
    "SignInSessionArn",
    "SourceAccount",
    "SourceArn",
    "SourceIdentity",
    "SourceIp",
    "SourceOrgID",
    "SourceOrgPaths",
    "SourceOwner",
    "SourceVpc",
    "SourceVpcArn",
    "SourceVpce",
    "TagKeys",
    "TokenIssueTime",
    "UserAgent",
    "ViaAWSMCPService",
    "ViaAWSService",
    "VpcSourceIp",
    "VpceAccount",
    "VpceOrgID",
    "VpceOrgPaths",
    "userid",
    "username",
};

static bool is_listed(struct bytes name, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct bytes key = bytes_str(keys[i]);
        bool open = key.ptr[key.len - 1] == '/';
        if (open ? name.len > key.len && bytes_equal_nocase(bytes_of(name.ptr, key.len), key)
                 : bytes_equal_nocase(name, key))
            return true;
    }
    return false;
}

/* Other prefixes are other services', and web identity providers' host names. */
static bool is_known(struct bytes key)
{
    size_t colon = bytes_find(key, BYTES_LIT(":"), 0);
    struct bytes prefix = bytes_of(key.ptr, colon);
    struct bytes name = bytes_of(key.ptr + colon + 1, key.len - colon - 1);
    if (bytes_equal_nocase(prefix, BYTES_LIT("s3")))
        return is_listed(name, s3_keys, ARRAY_LEN(s3_keys));
    return !bytes_equal_nocase(prefix, BYTES_LIT("aws")) ||
           is_listed(name, aws_keys, ARRAY_LEN(aws_keys));
}

bool policy_has_unknown_key(const struct policy *p)
{
    for (const struct statement *s = p->statements; s; s = s->next)
        for (size_t i = 0; i < s->condition_count; i++)
            if (!is_known(s->conditions[i].key))
                return true;
    return false;
}
