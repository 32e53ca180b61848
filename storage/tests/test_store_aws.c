/* The aws backend under the contract that holds for every backend, against an S3 server and DynamoDB Local. */
#include "storage/tests/aws_parts_fixture.h"
#include "storage/tests/store_contract.h"

int main(void) {
    static const struct store_contract contract = {.name = "aws",
                                                   .make = aws_make,
                                                   .destroy = aws_destroy,
                                                   .open = aws_open,
                                                   .pump = aws_pump,
                                                   .revives = true};
    return aws_is_there() ? store_contract_run(&contract) : AWS_SKIPPED;
}
