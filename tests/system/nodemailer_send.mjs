// Sends one message by nodemailer, as the JSON on standard input says, and prints the reply.
import { readFileSync } from "node:fs";
import nodemailer from "nodemailer";

const wish = JSON.parse(readFileSync(0, "utf8"));
const transport = nodemailer.createTransport({
  host: "127.0.0.1",
  port: wish.port,
  secure: wish.secure,
  requireTLS: true,
  auth: { user: wish.user, pass: wish.password, method: wish.method },
  tls: { ca: readFileSync(wish.ca, "utf8"), servername: "localhost" },
});
const sent = await transport.sendMail({
  from: wish.from,
  to: wish.to,
  subject: wish.subject,
  text: wish.text,
  html: `<p>${wish.text}</p>`,
});
transport.close();
console.log(sent.response);
