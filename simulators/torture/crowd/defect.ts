/** What a gateway's log says where its own code, or the protocol engine inside it, has failed. */
export const DEFECT =
  /this is a defect in Holdfast|the protocol engine reports an error|a login failed on our side/;
