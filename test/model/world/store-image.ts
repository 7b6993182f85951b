/** A disk with a store that is migrated and has never been used, copied for each world: migrations take longest. */
import { seededRandom } from "../../../src/core/random.ts";
import { openStore, STORE_FILE } from "../../../src/queue/database.ts";
import { queueSchema } from "../../../src/queue/schema.ts";
import { SimDisk, type SimDiskOptions } from "./sim-disk.ts";
import { openOnDisk } from "./sim-sqlite.ts";

/** Any: what it decides (salts of a log that is gone) is not in the image. */
const SEED = 1;

const images = new Map<string, SimDisk>();

/** The same bytes in every process. */
export function freshStore(options: SimDiskOptions, dataDir = "/data"): SimDisk {
  let image = images.get(dataDir);
  if (!image) {
    image = new SimDisk({ random: seededRandom(SEED) });
    const on = image;
    const { walBytesMax, cacheBytes } = queueSchema.parse({});
    openStore(dataDir, { walBytesMax, cacheBytes, connect: (file) => openOnDisk(on, file) }).close();
    if (image.files().join() !== `${dataDir}/${STORE_FILE}`)
      throw new Error("the image was not closed cleanly");
    images.set(dataDir, image);
  }
  return image.clone(options);
}
