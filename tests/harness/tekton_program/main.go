// Tekton Triggers for the tests of receivers, made of Tekton's own packages.
//
//	tekton admit < listener.yaml   What Tekton's admission webhook makes of an EventListener: its defaults, or its refusal.
//	tekton listen NAMESPACE NAME   The sink of that EventListener, and the core interceptors.
//
// Tekton's own programs listen on every address of the machine; these do on 127.0.0.1 alone.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/tektoncd/triggers/pkg/apis/triggers/contexts"
	triggersv1 "github.com/tektoncd/triggers/pkg/apis/triggers/v1beta1"
	"github.com/tektoncd/triggers/pkg/client/clientset/versioned"
	"github.com/tektoncd/triggers/pkg/client/informers/externalversions"
	"github.com/tektoncd/triggers/pkg/interceptors"
	"github.com/tektoncd/triggers/pkg/interceptors/server"
	"github.com/tektoncd/triggers/pkg/sink"
	"go.uber.org/zap"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

const patience = 10 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "admit":
		return admit(os.Stdin, os.Stdout)
	case len(args) == 3 && args[0] == "listen":
		return listen(args[1], args[2], os.Getenv("LISTENER_PORT"), os.Getenv("INTERCEPTORS_PORT"))
	}
	return fmt.Errorf("usage: tekton admit | tekton listen NAMESPACE NAME")
}

// What the webhook does with an object that is created.
func admit(in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	listener := &triggersv1.EventListener{}
	if err := yaml.UnmarshalStrict(text, listener); err != nil {
		return err
	}
	ctx := contexts.WithUpgradeViaDefaulting(context.Background())
	listener.SetDefaults(ctx)
	if err := listener.Validate(ctx); err != nil {
		return err
	}
	defaulted, err := yaml.Marshal(listener)
	if err != nil {
		return err
	}
	_, err = out.Write(defaulted)
	return err
}

func listen(namespace, name, port, interceptorsPort string) error {
	logger, err := zap.NewDevelopment()
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	core, err := coreInterceptors(config, logger.Sugar())
	if err != nil {
		return err
	}
	events, err := eventSink(config, namespace, name, logger.Sugar())
	if err != nil {
		return err
	}
	failed := make(chan error)
	go serve(interceptorsPort, core, failed)
	go serve(port, events.IsValidPayload(http.HandlerFunc(events.HandleEvent)), failed)
	return <-failed
}

func coreInterceptors(config *rest.Config, logger *zap.SugaredLogger) (http.Handler, error) {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return server.NewWithCoreInterceptors(interceptors.DefaultSecretGetter(kube.CoreV1()), logger.Named("interceptors"))
}

// The sink with all that its listers have found so far.
func eventSink(config *rest.Config, namespace, name string, logger *zap.SugaredLogger) (*sink.Sink, error) {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	triggers, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	recorder, err := sink.NewRecorder()
	if err != nil {
		return nil, err
	}
	factory := externalversions.NewSharedInformerFactoryWithOptions(triggers, 0, externalversions.WithNamespace(namespace))
	beta, alpha := factory.Triggers().V1beta1(), factory.Triggers().V1alpha1()
	found := &sink.Sink{
		KubeClientSet:               kube,
		TriggersClient:              triggers,
		DiscoveryClient:             kube.Discovery(),
		DynamicClient:               objects,
		HTTPClient:                  &http.Client{Timeout: patience},
		EventListenerName:           name,
		EventListenerNamespace:      namespace,
		Logger:                      logger.Named("sink"),
		Recorder:                    recorder,
		Auth:                        sink.DefaultAuthOverride{},
		PayloadValidation:           true,
		WGProcessTriggers:           &sync.WaitGroup{},
		EventListenerLister:         beta.EventListeners().Lister(),
		TriggerLister:               beta.Triggers().Lister(),
		TriggerBindingLister:        beta.TriggerBindings().Lister(),
		ClusterTriggerBindingLister: beta.ClusterTriggerBindings().Lister(),
		TriggerTemplateLister:       beta.TriggerTemplates().Lister(),
		ClusterInterceptorLister:    alpha.ClusterInterceptors().Lister(),
		InterceptorLister:           alpha.Interceptors().Lister(),
	}
	forever := make(chan struct{})
	factory.Start(forever)
	for kind, synced := range factory.WaitForCacheSync(forever) {
		if !synced {
			return nil, fmt.Errorf("no list of %s", kind)
		}
	}
	return found, nil
}

func serve(port string, handler http.Handler, failed chan<- error) {
	failed <- (&http.Server{
		Addr:              net.JoinHostPort("127.0.0.1", port),
		Handler:           handler,
		ReadHeaderTimeout: patience,
	}).ListenAndServe()
}
