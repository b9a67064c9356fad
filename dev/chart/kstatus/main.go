// Says of each resource, one JSON object a line, what kstatus makes of it: the library that Helm 4 and Flux wait with.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	resources := json.NewDecoder(os.Stdin)
	for {
		var resource unstructured.Unstructured
		if err := resources.Decode(&resource.Object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		result, err := status.Compute(&resource)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(result.Status)
	}
}
