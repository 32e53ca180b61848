/*
 * Dollars in us-east-1, on demand, without free tiers (aws.amazon.com/{s3,dynamodb,lambda,api-gateway}/pricing).
 * Other regions differ by up to a third.
 */
export const PRICES = {
    s3Write: 5e-6, // PUT, COPY, POST, LIST; DELETE costs nothing
    s3Read: 0.4e-6,
    tableWriteUnit: 0.625e-6,
    tableReadUnit: 0.125e-6,
    lambdaRequest: 0.2e-6,
    lambdaGbSecond: { arm64: 13.3334e-6, x86_64: 16.6667e-6 },
    restApiRequest: 3.5e-6,
    httpApiRequest: 1e-6,
} as const;
