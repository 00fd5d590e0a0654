// Makes one chat completion with net/http and prints its text and usage.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type request struct {
	Model    string    `json:"model"`
	Messages []message `json:"messages"`
	Stream   bool      `json:"stream"`
}

type answer struct {
	Choices []struct {
		Message message `json:"message"`
		Delta   message `json:"delta"`
	} `json:"choices"`
	Usage *struct {
		PromptTokens     *int `json:"prompt_tokens"`
		CompletionTokens *int `json:"completion_tokens"`
	} `json:"usage"`
}

type result struct {
	Text         string `json:"text"`
	InputTokens  *int   `json:"input_tokens"`
	OutputTokens *int   `json:"output_tokens"`
}

func main() {
	log.SetFlags(0)
	stream := flag.Bool("stream", false, "ask for a stream")
	model := flag.String("model", "gpt-4.1-mini", "model")
	prompt := flag.String("prompt", "Say hello.", "prompt")
	flag.Parse()

	body, err := json.Marshal(request{*model, []message{{"user", *prompt}}, *stream})
	if err != nil {
		log.Fatal(err)
	}
	call, err := http.NewRequest("POST", "https://api.openai.com/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	call.Header.Set("Content-Type", "application/json")
	call.Header.Set("Authorization", "Bearer sk-test-not-a-real-key")
	response, err := http.DefaultClient.Do(call)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		text, _ := io.ReadAll(response.Body)
		log.Fatalf("status %d: %s", response.StatusCode, text)
	}
	var done result
	if *stream {
		done = readStream(response.Body)
	} else {
		done = readWhole(response.Body)
	}
	if done.Text == "" {
		log.Fatal("the answer has no text")
	}
	if err := json.NewEncoder(os.Stdout).Encode(done); err != nil {
		log.Fatal(err)
	}
}

func readWhole(body io.Reader) result {
	var whole answer
	if err := json.NewDecoder(body).Decode(&whole); err != nil {
		log.Fatal(err)
	}
	return result{whole.Choices[0].Message.Content, whole.Usage.PromptTokens, whole.Usage.CompletionTokens}
}

func readStream(body io.Reader) result {
	var done result
	ended := false
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		if !found {
			continue
		}
		if data == "[DONE]" {
			ended = true
			continue
		}
		var chunk answer
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			log.Fatal(fmt.Errorf("chunk %q: %w", data, err))
		}
		for _, choice := range chunk.Choices {
			done.Text += choice.Delta.Content
		}
	}
	if lines.Err() != nil || !ended {
		log.Fatalf("the stream has no end: %v", lines.Err())
	}
	return done
}
