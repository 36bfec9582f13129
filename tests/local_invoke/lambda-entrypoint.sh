#!/bin/sh
# Starts the function whose handler is the argument; outside Lambda, under the emulator of the runtime interface.
export _HANDLER="$1"
if [ -n "$AWS_LAMBDA_RUNTIME_API" ]; then
    exec /var/runtime/bootstrap
fi
exec /usr/local/bin/aws-lambda-rie /var/runtime/bootstrap
