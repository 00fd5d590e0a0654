// Command chat asks one question with a transport of its own: it heeds no proxy variable.
package main

import (
	"bytes"
	"encoding/json"
	"log"
	"net/http"
	"os"
)

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

func main() {
	log.SetFlags(0)
	question, err := os.ReadFile(os.Getenv("AGENTRUN_INPUT_FILE"))
	check(err)
	body, err := json.Marshal(map[string]any{
		"model":    os.Getenv("AGENTRUN_MODEL_SOLVER"),
		"messages": []message{{"user", string(question)}},
	})
	check(err)
	call, err := http.NewRequest("POST", "https://api.openai.com/v1/chat/completions", bytes.NewReader(body))
	check(err)
	call.Header.Set("Content-Type", "application/json")
	call.Header.Set("Authorization", "Bearer sk-test")
	client := http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true}}
	response, err := client.Do(call)
	check(err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		log.Fatalf("status %s", response.Status)
	}
	var answer struct {
		Choices []struct {
			Message message `json:"message"`
		} `json:"choices"`
	}
	check(json.NewDecoder(response.Body).Decode(&answer))
	check(os.WriteFile(os.Getenv("AGENTRUN_OUTPUT_FILE"), []byte(answer.Choices[0].Message.Content), 0o644))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
