module retailpipeline.dev/node/pause

go 1.24
