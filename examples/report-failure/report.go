package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"time"
)

var client = http.Client{Timeout: 30 * time.Second}

// report returns when the dead letter is durable. After an error the outcome is unknown: call it again.
func report(position string, failed error, attempts int) (string, error) {
	body, err := json.Marshal(map[string]any{
		"position": position,
		"group":    "billing",
		"attempts": attempts,
		"error": map[string]string{
			"type":       fmt.Sprintf("%T", failed),
			"message":    failed.Error(),
			"stacktrace": string(debug.Stack()),
		},
	})
	if err != nil {
		return "", err
	}
	url := os.Getenv("TRACECAR_URL")
	if url == "" {
		url = "http://127.0.0.1:8425"
	}
	request, err := http.NewRequest("POST", url+"/v1/failures", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("TRACECAR_TOKEN"))
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", response.Status, answer)
	}
	return string(answer), err
}
