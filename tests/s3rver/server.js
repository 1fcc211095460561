// Serves the buckets named on the command line from a folder, on a free port or PORT, which it prints.
const S3rver = require("@20minutes/s3rver");

const [directory, ...buckets] = process.argv.slice(2);
const options = { address: "127.0.0.1", port: Number(process.env.PORT || 0), silent: true, directory };
const server = new S3rver({ ...options, configureBuckets: buckets.map((name) => ({ name })) });
server.run((error, address) => {
  if (error) throw error;
  console.log(`listening on http://127.0.0.1:${address.port}`);
});
