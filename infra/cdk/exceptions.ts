/*
 * cdk-nag's AWS Solutions rules, and exceptions from them: a rule that does not fit one construct, with the reason,
 * always written next to that construct.
 *
 * For IAM5 cdk-nag wants an exception for every finding, and a finding's name holds names that are generated when the
 * template is. Here an exception stands for all findings of its construct; what the policies say is tested word by word
 * (test/permissions.test.ts).
 */
import { type IPolicyValidationContext, type IPolicyValidationPlugin, type PolicyValidationPluginReport,
         Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import type { IConstruct } from 'constructs';

const PACK = 'AwsSolutions-';

export function except(scope: IConstruct, rule: string, reason: string): void {
    Validations.of(scope).acknowledge({ id: PACK + rule, reason });
}

function excepted(root: IConstruct, path: string, rule: string): boolean {
    let at: IConstruct | undefined = root.node.findAll().find((construct) => construct.node.path === path);
    for (; at !== undefined; at = at.node.scope) {
        for (const entry of at.node.metadata) {
            if (entry.type === Validations.ACKNOWLEDGED_RULES_METADATA_KEY &&
                Object.keys(entry.data as object).some((id) => id.endsWith(`::${rule}`))) {
                return true;
            }
        }
    }
    return false;
}

export class Checks implements IPolicyValidationPlugin {
    readonly name = 'AwsSolutions';

    constructor(private readonly root: IConstruct) {}

    validate(context: IPolicyValidationContext): PolicyValidationPluginReport {
        const found = new AwsSolutionsChecks(this.root).validate(context).violations;
        const violations = found.flatMap((violation) => {
            const rule = violation.ruleName.replace(/\[.*/s, '');
            const left = violation.violatingResources.filter(
                (resource) => !excepted(this.root, resource.constructPath ?? '', rule));
            return left.length === 0 ? [] : [{ ...violation, violatingResources: left }];
        });
        return { success: violations.length === 0, violations };
    }
}
