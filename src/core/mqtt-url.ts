/** The URL of an MQTT broker, as a config names it. */
import { z } from "zod";

const MQTT_URL = /^(mqtts?|wss?):\/\//i;

export const mqttUrl = z.string().superRefine((text, context) => {
  const problem = urlProblem(text);
  if (problem) context.addIssue({ code: "custom", message: problem, input: text });
});

function urlProblem(text: string): string | null {
  if (!MQTT_URL.test(text) || !URL.canParse(text)) {
    return "expected a URL such as mqtt://broker:1883, mqtts://broker:8883, ws://broker:9001/mqtt or wss://…";
  }
  const url = new URL(text);
  if (url.username || url.password) return "a URL is printed in logs: use username and password instead";
  return url.search || url.hash ? "a query or fragment means nothing here" : null;
}
