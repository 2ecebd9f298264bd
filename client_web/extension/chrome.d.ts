// The part of Chrome's extension interface that is used here, for the type checker alone.

interface ChromeEvent<Listener> {
  addListener(listener: Listener): void;
}
interface ChromePort {
  readonly name: string;
  readonly sender?: { tab?: { id?: number; title?: string }; origin?: string; url?: string; frameId?: number };
  postMessage(message: unknown): void;
  disconnect(): void;
  onMessage: ChromeEvent<(message: any) => void>;
  onDisconnect: ChromeEvent<() => void>;
}
interface ChromeStorageArea {
  get(keys: string): Promise<Record<string, any>>;
  set(items: Record<string, unknown>): Promise<void>;
  setAccessLevel(options: { accessLevel: "TRUSTED_CONTEXTS" }): Promise<void>;
}
declare const chrome: {
  runtime: {
    getURL(path: string): string;
    connect(options: { name: string }): ChromePort;
    sendMessage(message: unknown): Promise<any>;
    onConnect: ChromeEvent<(port: ChromePort) => void>;
    onMessage: ChromeEvent<(message: any, sender: unknown, answer: (value: unknown) => void) => boolean | void>;
    readonly lastError?: { message: string };
  };
  storage: { local: ChromeStorageArea; session: ChromeStorageArea };
  tabs: {
    query(filter: { active?: boolean; currentWindow?: boolean }): Promise<{ id?: number; url?: string }[]>;
    sendMessage(tab: number, message: unknown): Promise<void>;
  };
};
