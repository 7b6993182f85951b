/** Commands to devices: their place in the page. */
export function CommandsScreen() {
  return (
    <p>
      This version carries messages from devices to backends. Commands the other way, from a backend to a
      device, are not in it; once they are, each is shown here with its way, its tries and what the device
      answered.
    </p>
  );
}
