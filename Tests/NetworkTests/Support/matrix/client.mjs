// SPDX-License-Identifier: Apache-2.0
// The same page in three ways that Node has of its own: client.mjs HOST PORT
import http from "node:http";
import net from "node:net";

const [host, port] = process.argv.slice(2);
const url = `http://${host}:${port}/`;

const read = async (stream) => {
  let text = "";
  for await (const part of stream) text += part;
  return text;
};

const byHTTP = () => new Promise((resolve, reject) =>
  http.get(url, (answer) => resolve(read(answer))).on("error", reject));

const byFetch = async () => (await fetch(url)).text();

const bySocket = async () => {
  const socket = net.connect({ host, port: Number(port) });
  socket.write(`GET / HTTP/1.0\r\nHost: ${host}\r\n\r\n`);
  const text = await read(socket);
  return text.slice(text.indexOf("\r\n\r\n") + 4);
};

const pages = await Promise.all([byHTTP(), byFetch(), bySocket()]);
if (new Set(pages).size !== 1) throw new Error(`they differ: ${pages}`);
console.log(`http, fetch, net: ${pages[0].trim()}`);
