/* An output of a stack under a name that people and scripts can type; CDK alone would add the path and a hash. */
import { CfnOutput } from 'aws-cdk-lib';
import type { Construct } from 'constructs';

export function output(scope: Construct, name: string, value: string): void {
    new CfnOutput(scope, `${name}Output`, { value }).overrideLogicalId(name);
}
